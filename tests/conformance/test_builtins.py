"""Every built-in plugin passes the conformance kit; encoders run on every built-in modality of their kinds."""

from molchord.host import installed
from molchord.testing import checks

BUILTINS = [plugin.record for plugin in installed().plugins if plugin.dist == "molchord"]


@checks(*(record for record in BUILTINS if record.name != "dimenetpp"))
def test_contract(check):
    check()


@checks(
    *(record for record in BUILTINS if record.name == "dimenetpp"),
    expected_failures={"uses_every_column": "DimeNet++ sees elements and positions alone, as published"},
)
def test_contract_of_dimenetpp(check):
    check()
