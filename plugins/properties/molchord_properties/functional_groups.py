"""Property `functional_groups`: configuration and record; nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from molchord.api import Config, Property, PropertyRecord

__all__ = ["FUNCTIONAL_GROUPS", "GROUPS", "FunctionalGroupsConfig"]

GROUPS: Mapping[str, str] = {
    "acid anhydride": "[CX3](=[OX1])[OX2][CX3](=[OX1])",
    "acyl halide": "[CX3](=[OX1])[F,Cl,Br,I]",
    "alcohol": "[#6][OX2H]",
    "aldehyde": "[CX3H1](=O)[#6,H]",
    "alkane": "[CX4;H3,H2]",
    "alkene": "[CX3]=[CX3]",
    "alkyne": "[CX2]#[CX2]",
    "amide": "[NX3][CX3](=[OX1])[#6]",
    "amine": "[NX3;H2,H1,H0;!$(NC=O)]",
    "arene": "[cX3]1[cX3][cX3][cX3][cX3][cX3]1",
    "azo compound": "[#6][NX2]=[NX2][#6]",
    "carbamate": "[NX3][CX3](=[OX1])[OX2H0]",
    "carboxylic acid": "[CX3](=O)[OX2H]",
    "enamine": "[NX3][CX3]=[CX3]",
    "enol": "[OX2H][#6X3]=[#6]",
    "ester": "[#6][CX3](=O)[OX2H0][#6]",
    "ether": "[OD2]([#6])[#6]",
    "haloalkane": "[#6][F,Cl,Br,I]",
    "hydrazine": "[NX3][NX3]",
    "hydrazone": "[NX3][NX2]=[#6]",
    "imide": "[CX3](=[OX1])[NX3][CX3](=[OX1])",
    "imine": "[$([CX3]([#6])[#6]),$([CX3H][#6])]=[$([NX2][#6]),$([NX2H])]",
    "isocyanate": "[NX2]=[C]=[O]",
    "isothiocyanate": "[NX2]=[C]=[S]",
    "ketone": "[#6][CX3](=O)[#6]",
    "nitrile": "[NX1]#[CX2]",
    "phenol": "[OX2H][cX3]:[c]",
    "phosphine": "[PX3]",
    "sulfide": "[#16X2H0]",
    "sulfonamide": "[#16X4]([NX3])(=[OX1])(=[OX1])[#6]",
    "sulfonate": "[#16X4](=[OX1])(=[OX1])([#6])[OX2H0]",
    "sulfone": "[#16X4](=[OX1])(=[OX1])([#6])[#6]",
    "sulfonic acid": "[#16X4](=[OX1])(=[OX1])([#6])[OX2H]",
    "sulfoxide": "[#16X3]=[OX1]",
    "thial": "[CX3H1](=S)[#6,H]",
    "thioamide": "[NX3][CX3]=[SX1]",
    "thiol": "[#16X2H]",
}
"""37 functional groups as SMARTS (MSpecTmol, table 5). They are wider than their names: a carboxylic acid has an
"alcohol", an ester an "ether"."""


class FunctionalGroupsConfig(Config):
    """Which groups are looked for."""

    groups: dict[str, str] = Field(
        default=dict(GROUPS), min_length=1, description="SMARTS of each group by its name; the first match counts."
    )


def build(config: FunctionalGroupsConfig) -> Property:
    """Return the property; RDKit is imported here, not before."""
    from molchord_properties.functional_groups_property import FunctionalGroups

    return FunctionalGroups(config.groups)


FUNCTIONAL_GROUPS = PropertyRecord(
    name="functional_groups",
    summary="37 functional groups by SMARTS, or patterns of your own",
    api=1,
    config=FunctionalGroupsConfig,
    build=build,
)
