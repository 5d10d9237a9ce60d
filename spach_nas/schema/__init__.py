"""JSON Schema of the YAML files, for editors and for the reference in the documentation."""

from spach_nas.schema.tree import search_schema, space_schema

__all__ = ["search_schema", "space_schema"]
