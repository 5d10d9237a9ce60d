"""Names of the files in a study's folder that several rooms read."""

RECORDS_FILE = "records.jsonl"
SEARCH_YAML = "search.yaml"
SPACE_YAML = "space.yaml"
DATA_JSON = "data.json"
LATENCY_JSON = "latency.json"
# What evaluators have prepared, in a folder for each.
PREPARED = "prepared"
