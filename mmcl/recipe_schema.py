"""A JSON schema of recipe files, for editors that complete and check while one types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mmcl.guards import named_guards
from mmcl.recipe import Recipe
from mmcl.recipe_sections import SHORT_FORMS, Sections, sections_in, tag_field, tag_of


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a recipe file, short forms and ``base`` included.

    Nothing is required in it, not even ``data``: a base or an override may give what a file lacks.
    """
    schema = Recipe.model_json_schema()
    definitions = {name: _allow_short_forms(definition) for name, definition in schema.pop("$defs").items()}
    properties = _allow_short_forms(schema["properties"])
    for name, field in Recipe.model_fields.items():
        members = sections_in(field.annotation)
        if tag_field(members):
            # Of one that may be null, the list stands beside the null.
            lists = [part for part in properties[name].get("anyOf", [properties[name]]) if "items" in part]
            for part in lists:
                names = named_guards() if name == "guard" else ()
                part["items"] = _allow_short_members(part["items"], members, names)
    base = {"type": "string", "description": "A packaged recipe, or the path of one from this file, to start from."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mmcl recipe",
        "type": "object",
        "additionalProperties": False,
        "properties": {"base": base, **properties},
        "$defs": definitions,
    }


def _allow_short_forms(schema: Any) -> Any:
    """Let a string stand wherever a section that has a short form may, and require nothing."""
    if isinstance(schema, list):
        return [_allow_short_forms(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: _allow_short_forms(part) for key, part in schema.items() if key != "required"}
    reference = {"$ref": parts.get("$ref")}
    if reference in [_reference(section) for section in SHORT_FORMS]:
        del parts["$ref"]
        parts["anyOf"] = [{"type": "string"}, reference]
    return parts


def _allow_short_members(items: dict[str, Any], members: Sections, names: Iterable[str]) -> dict[str, Any]:
    """Let a member of a union be its name or one of ``names`` or, for an objective, its name with weight or fields."""
    tags = {tag[1]: section for section in members if (tag := tag_of(section))}
    forms = [{"enum": [*tags, *names]}, items]
    if tag_field(members) == "type":
        weighted = {tag: {"anyOf": [{"type": "number"}, _reference(section)]} for tag, section in tags.items()}
        forms.append({"type": "object", "additionalProperties": False, "minProperties": 1, "properties": weighted})
    return {"anyOf": forms}


def _reference(section: type) -> dict[str, str]:
    return {"$ref": f"#/$defs/{section.__name__}"}
