from needs import CHROMIUM, FASHION_MNIST, summary


def test_what_is_lacking_is_one_line_with_the_commands_that_bring_it() -> None:
    reasons = [f"Skipped: {CHROMIUM}", "Skipped: the switch is glibc's", CHROMIUM, FASHION_MNIST]
    assert summary(reasons) == (
        "skipped: 2 for want of Chromium (apt install chromium); 1 for want of "
        "dataset-fashion-mnist (apt install dataset-fashion-mnist)"
    )
    assert summary(["Skipped: the switch is glibc's"]) == summary([]) == ""
