"""The conformance kit: what every plugin must do, as small named checks.

A plain call gives a report, the pytest form one test a check:

Example:
    >>> from molchord.host import installed
    >>> report = check_loss(installed().find("loss", "all_pairs").record)
    >>> report.ok
    True

    ```python
    # tests/test_contract.py of an outside package
    from molchord.testing import checks
    from molchord_ccs.ccs import CCS

    @checks(CCS)
    def test_contract(check):
        check()
    ```

A check that is known to fail is listed as ``expected_failures={"check_name": "reason"}``; it then has to fail. Checks
build a plugin with its default configuration; another one is checked as ``dataclasses.replace(RECORD, config=Other)``,
where ``Other`` is a class of configurations with other defaults. Readers are checked on your own files by `check_file`.
"""

from typing import TYPE_CHECKING

from molchord.deprecation import old_names
from molchord.testing.files import check_file
from molchord.testing.report import (
    Report,
    Result,
    check_encoder,
    check_index,
    check_logger,
    check_loss,
    check_modality,
    check_property,
    check_record,
    check_reranker,
    check_simulator,
    checks,
)
from molchord.testing.samples import MOLECULES, examples_of, molecules, tiny_data, tiny_run

if not TYPE_CHECKING:
    __getattr__ = old_names("molchord.testing")

__all__ = [
    "MOLECULES",
    "Report",
    "Result",
    "check_encoder",
    "check_file",
    "check_index",
    "check_logger",
    "check_loss",
    "check_modality",
    "check_property",
    "check_record",
    "check_reranker",
    "check_simulator",
    "checks",
    "examples_of",
    "molecules",
    "tiny_data",
    "tiny_run",
]
