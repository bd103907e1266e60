"""The tables: which systems, which tests, on which data. Nothing else is table-specific."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.accuracy.plan import FIVE_FOLDS, Curve, Realign, System, Table, Test

__all__ = ["RECIPE", "TABLES"]

ALL_FUSIONS = ("gm-exp", "gm-half", "gm-clamp")

MORE = System(name="recipe", graph="recipes/vibrational.yaml")
# Smaller sets need more passes, and the smallest has too few near neighbours for groups of them.
RECIPE = MORE.changed(
    train__epochs=60,
    train__hard_negatives=0,
    modalities__structure__encoder={"use": "gine", "hidden": 128, "layers": 4},
)
PUBLISHED = System(name="reference, published loss", graph="recipes/vibraclip.yaml", seeds=1)
COSINE = PUBLISHED.changed(name="reference, cosine InfoNCE", loss={"use": "all_pairs", "temperature": "learnable"})
CLEAN, REALISTIC = Test(name="clean"), Test(name="realistic", condition="realistic")


def unseen(data: str, condition: str = "clean") -> Test:
    """Return the test against 20,000 structures never trained on."""
    return Test(
        name=f"{condition}, 20,000 more",
        data=f"{data} and 20,000 structures",
        pools=("unseen:20000",),
        condition=condition,
    )


def share(fraction: float, **fields: str) -> System:
    """Return the recipe trained on a share of the molecules."""
    return MORE.changed(name=f"{100 * fraction:g} % of the molecules", train__fraction=fraction, x=fraction, **fields)


MISSING = (0.5,)
THINNED = tuple(
    RECIPE.changed(
        name=f"{100 * part:g} % of {name} missing", train__missing={name: part}, line=f"{name} missing", x=part
    )
    for name in ("ir", "raman")
    for part in MISSING
)
FEWER = tuple(
    RECIPE.changed(name=f"{100 * part:g} % fewer molecules", train__fraction=1 - part, line="fewer molecules", x=part)
    for part in MISSING
)

LIGHT = {"scale": [0.998, 1.002], "shift": [-4.0, 4.0], "intensity": [0.8, 1.2]}
STICKS = {"stick_shift": 3.0, "stick_intensity": 0.2}


def spectra(**values: object) -> dict[str, object]:
    """Return changes of both spectra alike, by path with "__" for dots."""
    changes = {key.replace("__", "."): value for key, value in values.items()}
    return {f"modalities.{name}.{path}": value for name in ("ir", "raman") for path, value in changes.items()}


FINGERPRINT: Mapping[str, object] = {
    "candidate": "fingerprint",
    "modalities.structure": None,
    "modalities.fingerprint": {
        "use": "fingerprint",
        "encoder": {"use": "mlp", "hidden": [], "width": 256},
        "head": {"layers": 1, "layer_norm": False},
    },
}
CHANGES: Mapping[str, Mapping[str, object]] = {
    "plain channel alone": spectra(channels=["plain"]),
    "no instrument in the jitter": spectra(jitter={**LIGHT, **STICKS}),
    "no jitter": spectra(jitter={}),
    "MLP for the spectra": spectra(encoder={"use": "mlp"}),
    "explicit hydrogens": {"modalities.structure.hydrogens": "explicit"},
    "fingerprint in place of the graph": FINGERPRINT,
    "all pairs": {"loss.use": "all_pairs"},
    "published loss": {"loss": {"use": "graph_centered", "form": "vibraclip", "temperature": 141.0}},
    "without the moving average": {"train.ema": None},
}
SHORT = RECIPE.changed(name="recipe, 20 epochs", train__epochs=20)
ABLATION = tuple(
    System(name=name, graph=SHORT.graph, change={**SHORT.change, **change}) for name, change in CHANGES.items()
)

GAS = System(name="computed spectra only", graph="recipes/gas.yaml", data="aimnet2 without nist", own_split=True)
MEASURED = {"ir": {"origin": "measured"}}
HEADS = GAS.changed(
    name="realigned heads, as published",
    realign=Realign(data="nist", where=MEASURED, epochs=15, trainable=("heads",)),
)
REALIGNED = GAS.changed(
    name="recipe: both towers realigned",
    realign=Realign(data="nist", where=MEASURED),
)
BAG = System(name="recipe (peak_bag)", graph="recipes/msms.yaml")
PEAKS = BAG.changed(name="peak_transformer", modalities__msms__encoder={"use": "peak_transformer"})
BINS = BAG.changed(name="resnet1d on bins", modalities__msms__encoder={"use": "resnet1d"})
GRAPH = BAG.changed(
    name="gine for the structure",
    candidate="structure",
    modalities__fingerprint=None,
    modalities__structure={"use": "structure", "hydrogens": "implicit", "encoder": {"use": "gine"}},
)
FOUR = RECIPE.changed(
    name="recipe with MS/MS",
    modalities__msms={
        "use": "msms",
        "encoder": {"use": "peak_bag", "hidden": 512},
        "head": {"layers": 1, "layer_norm": False},
    },
)
ADDUCT = {"msms": "adduct"}

NIST_MORE = "nist and 2,033 ordinary structures"
FIVE = System(name="five spectra", graph="recipes/five.yaml", data="five", own_split=True)

TABLES: Mapping[str, Table] = {
    "reference": Table(
        title="The published model in this engine",
        text="VibraCLIP's towers, widths and optimiser settings, with the loss of its published code (unnormalised "
        "products, soft targets at temperature 141) and with cosine InfoNCE (the paper's equations 1 to 5), each to "
        "early stopping and stopped at the recipe's training time. The better one counts as the reference.",
        data="qm9",
        systems=(
            RECIPE,
            PUBLISHED,
            COSINE,
            PUBLISHED.changed(name="published loss, equal time", as_long_as="recipe"),
            COSINE.changed(name="cosine InfoNCE, equal time", as_long_as="recipe"),
        ),
        tests=(
            Test(name="clean", fusions=ALL_FUSIONS),
            Test(name="library", pools=("all",), modes=("library",), fusions=ALL_FUSIONS),
        ),
        minutes=240,
    ),
    "main": Table(
        title="Computed IR and Raman: trained on qm9-xtb alone",
        text="The fixed benchmark set; `reference` compares with the published model.",
        data="qm9",
        systems=(RECIPE,),
        tests=(
            Test(name="clean", pools=("test", "all", "isomers", "mass:10ppm"), fusions=ALL_FUSIONS),
            REALISTIC,
            unseen("qm9"),
        ),
        minutes=120,
        figure=Curve(over="bars"),
        headline=(
            ("clean", "all"),
            ("realistic", "all"),
            ("clean", "isomers"),
            ("clean, 20,000 more", "unseen:20000"),
        ),
    ),
    "scaffold": Table(
        title="The same by scaffolds",
        text="Split by the hash of the Murcko scaffold, so that none is on two sides; molecules without a ring go by "
        "their own hash.",
        data="qm9",
        systems=(RECIPE,),
        tests=(CLEAN,),
        minutes=20,
        seeds=(7,),
        splits=("scaffold",),
        candidates_only=False,
    ),
    "both": Table(
        title="Computed IR and Raman: trained on both files",
        text="qm9-xtb and qm9-xtb-more together; the pools of qm9-xtb alone, and of both.",
        data="both",
        systems=(MORE.changed(train__epochs=80),),
        tests=(
            Test(name="clean, qm9-xtb", data="qm9"),
            Test(name="realistic, qm9-xtb", data="qm9", condition="realistic"),
            CLEAN,
            REALISTIC,
            unseen("both"),
        ),
        minutes=90,
        seeds=(7,),
        candidates_only=False,
    ),
    "grown": Table(
        title="Computed IR and Raman: trained on the grown set",
        text="Pool `all:20000`: exactly 20,000 molecules of the set: test, validation, the rest drawn from training.",
        data="grown",
        systems=(MORE,),
        tests=(
            Test(name="clean", pools=("test", "all:20000", "all", "isomers")),
            Test(name="realistic", pools=("test", "all:20000", "all"), condition="realistic"),
            unseen("grown"),
            unseen("grown", "realistic"),
        ),
        minutes=150,
        seeds=(7,),
        candidates_only=False,
        headline=(
            ("clean", "all"),
            ("realistic", "all"),
            ("clean", "isomers"),
            ("clean, 20,000 more", "unseen:20000"),
            ("realistic, 20,000 more", "unseen:20000"),
        ),
    ),
    "data": Table(
        title="How much data",
        text="1/8, 1/4, 1/2 and all of the training molecules of both files, against one fixed pool.",
        data="both",
        systems=(
            MORE.changed(name="all molecules", x=1.0),
            *(share(part) for part in (1 / 2, 1 / 4, 1 / 8)),
        ),
        tests=(Test(name="clean", data="qm9", pools=("all",)),),
        minutes=90,
        seeds=(7,),
        candidates_only=False,
        figure=Curve(over="systems", label="share of the training molecules"),
    ),
    "missing": Table(
        title="One spectrum missing in training",
        text="A share of one modality's measurements is left out of the training set; beside it a model trained on as "
        "many fewer molecules. Queries and candidates are the same for all.",
        data="qm9",
        systems=(
            RECIPE.changed(name="nothing missing", x=0.0),
            *THINNED,
            *FEWER,
        ),
        tests=(Test(name="clean", pools=("all",)),),
        minutes=60,
        seeds=(7,),
        candidates_only=False,
        figure=Curve(over="systems", label="share left out of training"),
    ),
    "noise": Table(
        title="Noise and shifts",
        text="One model; white noise of 2, 5 and 10 % of each spectrum's maximum, shifts of up to 2, 5 and 10 points.",
        data="qm9",
        systems=(RECIPE, PUBLISHED, COSINE),
        tests=(
            Test(name="clean", pools=("all",), line="clean", x=0.0),
            *(
                Test(name=f"noise {x}", pools=("all",), condition=f"noise {x}", line="noise", x=100 * x)
                for x in (0.02, 0.05, 0.1)
            ),
            *(
                Test(name=f"shift {x}", pools=("all",), condition=f"shift {x}", line="shift", x=float(x))
                for x in (2, 5, 10)
            ),
        ),
        minutes=30,
        seeds=(7,),
        candidates_only=False,
        figure=Curve(over="tests", label="noise in % of the maximum, or shift in points"),
        headline=tuple((name, "all") for name in ("clean", "noise 0.02", "noise 0.05", "noise 0.1", "shift 5")),
    ),
    "ablation": Table(
        title="Ablation",
        text="One change of the recipe each, at a third of its epochs; queries of the validation split, against all "
        "structures.",
        data="qm9",
        systems=(SHORT, *ABLATION),
        tests=(Test(name="clean, validation", pools=("all",), split="val"),),
        minutes=100,
        seeds=(7,),
        candidates_only=False,
    ),
    "gas": Table(
        title="Experimental gas-phase IR",
        text="Measured queries (MSDC-IR) against structures alone. Trained on spectra computed by AIMNet2, none of a "
        "molecule that is tested; then, five-fold and out of fold, realigned on the measured spectra of the "
        "training folds. Headline pool: the 555 molecules of nist-xtb. Pools with 2,033 ordinary structures (as "
        "large as Vib2Mol's) and with 20,000 of QM9 are secondary. simulate_and_match compares with spectra that "
        "AIMNet2 computed; its scales and intensities are rounded values that were chosen earlier on these "
        "queries, its weights are fitted on each fold's validation part.",
        data="nist",
        systems=(REALIGNED, HEADS, GAS),
        tests=(
            Test(
                name="measured",
                where=MEASURED,
                rerank="simulate_and_match",
                computed=("nist by aimnet2",),
                rerank_k=50,
            ),
            Test(
                name="measured, ordinary molecules more",
                data=NIST_MORE,
                pools=("all",),
                where=MEASURED,
            ),
            Test(
                name="measured, 20,000 more",
                data="nist and 20,000 structures",
                pools=("all", "isomers"),
                where=MEASURED,
            ),
        ),
        minutes=120,
        seeds=(7,),
        splits=FIVE_FOLDS,
        measured=True,
    ),
    "shipped": Table(
        title="The shipped model on measured spectra",
        text="One model for IR, Raman, MS/MS and NMR, trained on computed IR and Raman, predicted shifts and measured "
        "MS/MS; no molecule of these tests was in its training. Gas IR and Raman are measured; each is searched among "
        "structures alone.",
        data="nist",
        systems=(FIVE,),
        tests=(
            Test(
                name="gas IR",
                where=MEASURED,
                pools=("all", "isomers"),
                rerank="simulate_and_match",
                computed=("nist by aimnet2",),
                rerank_k=50,
            ),
            Test(name="gas IR, ordinary molecules more", data=NIST_MORE, pools=("all",), where=MEASURED),
            Test(name="Raman", data="raman and 2,000 ordinary structures", pools=("all",)),
        ),
        minutes=60,
        seeds=(7,),
        splits=FIVE_FOLDS,
        candidates_only=False,
        measured=True,
    ),
    "five": Table(
        title="Five spectra",
        text="The test split of the shipped model's data: computed IR and Raman, predicted shifts, measured MS/MS of "
        "ordinary molecules; and measured shift lists (nmrshiftdb) of molecules of the test split.",
        data="five",
        systems=(FIVE,),
        tests=(
            Test(name="clean", pools=("all",)),
            Test(name="realistic", pools=("all",), condition="realistic"),
            Test(name="all MS/MS of a molecule", pools=("all",), options={"combine": True}),
            Test(name="measured shifts", data="shifts", pools=("all",)),
        ),
        minutes=60,
        seeds=(7,),
        candidates_only=False,
    ),
    "msms": Table(
        title="Measured MS/MS (MassBank)",
        text="Candidates are all MassBank structures, or those within 10 ppm of the measured mass (queries with a "
        "known adduct). Combined: all spectra of a molecule as one query.",
        data="massbank",
        systems=(BAG, PEAKS, BINS, GRAPH),
        tests=(
            Test(name="one spectrum", pools=("all",)),
            Test(name="one spectrum, known adduct", pools=("all", "mass:10ppm"), known=ADDUCT),
            Test(name="combined", pools=("all",), options={"combine": True}),
            Test(name="combined, known adduct", pools=("all", "mass:10ppm"), known=ADDUCT, options={"combine": True}),
        ),
        minutes=90,
        seeds=(7,),
        measured=True,
        headline=(("one spectrum", "all"), ("combined", "all")),
    ),
    "four": Table(
        title="Four modalities",
        text="MassBank molecules with computed IR and Raman; queries with MS/MS are those that have measured spectra. "
        "Five-fold, out of fold.",
        data="four",
        systems=(FOUR,),
        tests=(CLEAN,),
        minutes=60,
        seeds=(7,),
        splits=FIVE_FOLDS,
        candidates_only=False,
    ),
}
