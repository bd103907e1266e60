"""Every built-in plugin passes the conformance kit; encoders run on every built-in modality of their kinds."""

from molchord.host import installed
from molchord.testing import checks

BUILTINS = [plugin.record for plugin in installed().plugins if plugin.dist == "molchord"]


@checks(*BUILTINS)
def test_contract(check):
    check()
