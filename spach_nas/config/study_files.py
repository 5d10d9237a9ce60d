"""Names of the files in a study's folder that several rooms read."""

RECORDS_FILE = "records.jsonl"
SEARCH_YAML = "search.yaml"
SPACE_YAML = "space.yaml"
DATA_JSON = "data.json"
LATENCY_JSON = "latency.json"
# Measured latency of whole networks on the front.
FRONT_LATENCY_JSON = "front_latency.json"
# Cost, latency and published accuracy of the models of timm among the references.
TIMM_CSV = "timm_models.csv"
# What `spach-nas audit --out` wrote, next to a search YAML or in a study.
AUDIT_CSV = "audit.csv"
# What evaluators have prepared, in a folder for each.
PREPARED = "prepared"
# The trained network from which the search began.
INITIAL = "initial.safetensors"
# What the evaluator of that name prepares in a folder of that name.
SUPERNET = "supernet"
SUPERNET_FILE = "supernet.safetensors"
# The supernet from whose weights candidates begin.
INITIAL_SUPERNET = "initial_supernet.safetensors"
# The trained network that candidates learn to agree with.
TEACHER = "teacher.safetensors"
# What each change of one of its blocks does to the validation loss.
PLACEMENT = "placement.json"
