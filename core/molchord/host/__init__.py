"""Finds the installed plugins, builds them, and reports what became of those that fail.

Read `types` (what there can be), `discovery` and `collector` (what is there), `record_check` (whether it can be used),
`build` (used). Next to them `registry` is the catalogue and the policy, `report` what `molchord plugins` prints,
`scaffold` what `molchord plugins new` writes.
"""

from molchord.host.build import Built, Use, build, guarded
from molchord.host.collector import Plugin, Problem
from molchord.host.discovery import Host, installed
from molchord.host.types import PLUGIN_TYPES, PluginType

__all__ = ["PLUGIN_TYPES", "Built", "Host", "Plugin", "PluginType", "Problem", "Use", "build", "guarded", "installed"]
