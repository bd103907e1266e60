"""A second look at the first k candidates of a search, by a re-ranker plugin.

They get a new score (`rerank_weights`) and are sorted by it; candidates beyond the first k keep theirs, below.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import BaseModel

from molchord.api import Candidate, Measurement, Molecule, Reranker
from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.errors import PluginError, QueryError, check_whole
from molchord.host import Use, build, installed
from molchord.host.registry import BUILTIN
from molchord.library.library import Hit
from molchord.rerank.computed import Computed
from molchord.rerank.weights import WEIGHTS, Weights, WeightsFile, combined_scores, even_weights

__all__ = ["Rerank", "Reranking", "reranked"]

DEFAULT_K = 25


@final
@dataclass(frozen=True)
class Rerank:
    """What to re-rank by.

    Attributes:
        use: Name of a re-ranker, or a `Use` with its configuration.
        k: How many of the first candidates; None: 25, and in a search what its weights were fitted for.
        computed: Data set, or several, whose computed measurements serve for candidates.
        simulator: Simulator that computes on the spot what they lack, or a `Use` with its configuration.

    Example:
        >>> Rerank("simulate_and_match", computed="datasets/nist-xtb").k is None
        True
    """

    use: str | Use
    _: dataclasses.KW_ONLY
    k: int | None = None
    computed: str | Path | DataSet | Sequence[str | Path | DataSet] = ()
    simulator: str | Use | None = None


# --- the plugin at work ----------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True, kw_only=True)
class Reranking:
    """A re-ranker ready to use.

    Attributes:
        name: As the metrics name it.
        qualified: ``dist:name``.
        config: Its configuration.
        config_version: Version of that.
        reranker: What the plugin built.
        k: How many candidates it looks at.
        computed: Where computed measurements come from; None where it asks for none.
        saved: Its fitted weights; None before they are fitted.
    """

    name: str
    qualified: str
    config: BaseModel
    reranker: Reranker
    k: int
    config_version: int = 1
    computed: Computed | None = None
    saved: WeightsFile | None = None

    @classmethod
    def for_search(cls, embedder: Embedder, asked: Rerank | str, *, fusion: str, mode: str) -> Reranking:
        """Build what was asked for, with the weights in the run's folder, where there are some.

        Raises:
            QueryError: They are of another re-ranker, or the search is not blind with fusion ``gm-exp``.
            MolchordError: As `of` raises.
        """
        if (fusion, mode) != ("gm-exp", "blind"):
            raise QueryError(
                f"re-ranking adds to the logit of mode 'blind' and fusion 'gm-exp', got mode {mode!r} and fusion "
                f"{fusion!r}; search with those"
            )
        path = embedder.path / WEIGHTS
        return cls.of(embedder, asked, WeightsFile.read(path) if path.is_file() else None)

    @classmethod
    def of(
        cls,
        embedder: Embedder,
        asked: Rerank | str,
        saved: WeightsFile | None = None,
    ) -> Reranking:
        """Build what was asked for.

        Args:
            embedder: The model whose hits are re-ranked.
            asked: Which re-ranker, and where computed measurements come from.
            saved: Fitted weights, which record the configuration and `k`.

        Raises:
            PluginError: There is no such re-ranker, or its configuration is wrong.
            DataError: A data set cannot be used.
            QueryError: The weights are of another re-ranker, `k` or configuration, or it lacks a source of computed
                measurements.
        """
        asked = asked if isinstance(asked, Rerank) else Rerank(asked)
        host = installed()
        use: Mapping[str, Any] = Use(asked.use) if isinstance(asked.use, str) else asked.use
        plugin = host.find("reranker", use["use"])
        if saved is not None:
            _agree(saved, plugin.qualified, asked.k, {key: value for key, value in use.items() if key != "use"})
            use = {"use": plugin.qualified, **saved.config}
        built = build("reranker", use, host=host, saved=None if saved is None else saved.config_version)
        k = saved.k if saved is not None else DEFAULT_K if asked.k is None else asked.k
        check_whole(k, "k", least=1, failed="re-ranking", error=QueryError)
        computed = _computed(embedder, asked, plugin.name) if plugin.record.computed else None
        named = plugin.name if plugin.dist == BUILTIN else plugin.qualified
        return cls(
            name=named,
            qualified=plugin.qualified,
            config=built.config,
            config_version=plugin.record.config_version,
            reranker=built.it,
            k=k,
            computed=computed,
            saved=saved,
        )

    def refusal(self, query: Mapping[str, Sequence[Measurement]]) -> str | None:
        """Return why a query must not be re-ranked: if computed, what is computed for candidates is its answer."""
        wrong = [name for name, several in query.items() if any(m.origin == "computed" for m in several)]
        if self.computed is None or not wrong:
            return None
        return (
            f"re-ranking by {self.name!r} compares with computed measurements, and a query of {wrong[0]!r} is computed "
            "itself, so that they are its answer; take measured queries (`origin` 'measured')"
        )

    def names(self, modalities: Sequence[str]) -> tuple[str, ...]:
        """Name the features for queries of these modalities."""
        return tuple(self.reranker.names(tuple(modalities)))

    def weights(self, modalities: Sequence[str]) -> Weights:
        """Return the saved weights for queries of these modalities.

        Raises:
            QueryError: There are none, or they are of other features.
        """
        if self.saved is None:
            raise QueryError(f"re-ranker {self.name!r} has no fitted weights; fit them with `molchord evaluate`")
        found, names = self.saved.of(" + ".join(modalities)), self.names(modalities)
        if names != tuple(found.features):
            raise QueryError(
                f"re-ranker {self.name!r} now gives features {', '.join(names)}, but its weights are of "
                f"{', '.join(found.features)}; evaluate again with it"
            )
        return found

    def features(
        self, query: Mapping[str, Sequence[Measurement]], molecules: Sequence[Molecule], *, simulate: bool = True
    ) -> Float[NDArray[np.float64], "k f"]:
        """Return the features of a query's candidates.

        Args:
            query: The query's measurements per modality.
            molecules: The candidates.
            simulate: Compute on the spot what the data sets of computed measurements lack.

        Raises:
            PluginError: The re-ranker returned something else.
        """
        computed = self.computed
        look = None if computed is None else computed.of if simulate else computed.stored
        found = [{} for _ in molecules] if look is None else look(molecules)
        candidates = [Candidate(molecule=m, computed=c) for m, c in zip(molecules, found, strict=True)]
        features = np.asarray(self.reranker.features(query, candidates), dtype=np.float64)
        wanted = (len(molecules), len(self.names(tuple(query))))
        if features.shape != wanted:
            raise PluginError(
                f"re-ranker {self.name!r} returned features of shape {features.shape}, but {wanted} (candidates, "
                "names) is needed; repair the plugin"
            )
        return features

    def file(self, weights: Mapping[str, Mapping[str, Weights]]) -> WeightsFile:
        """Return fitted weights, by pool and query, as a file."""
        by_pool = {pool: dict(by_query) for pool, by_query in weights.items()}
        config = self.config.model_dump(mode="json")
        return WeightsFile(
            reranker=self.qualified, config=config, config_version=self.config_version, k=self.k, weights=by_pool
        )


def reranked(
    hits: Sequence[Hit],
    reranking: Reranking,
    query: Mapping[str, Sequence[Measurement]],
    *,
    tau: Mapping[str, float],
    beta: Mapping[int, float],
) -> list[Hit]:
    """Return hits of a blind search with the first k in their new order.

    The probability that the first k had together is dealt out anew among them; without one there stays none. Where no
    weights were fitted, the model's score and the features count the same, and no hit has a probability.

    Args:
        hits: From the search, best first.
        reranking: With its weights.
        query: The query's measurements per modality, in the order of the model graph.
        tau: Temperature of each modality.
        beta: Confidence factor for each number of spectra.

    Raises:
        QueryError: The query is computed itself and must not be re-ranked, or there are no weights for it.

    Warns:
        UserWarning: A candidate has no computed measurement, or the weights were not fitted.
    """
    refusal = reranking.refusal(query)
    if refusal is not None:
        raise QueryError(refusal)
    names = reranking.names(tuple(query))
    fitted = None if reranking.saved is None else reranking.weights(tuple(query))
    first = list(hits[: reranking.k])
    molecules = [Molecule(key14=h.key14, smiles=h.smiles, formula=h.formula, exact_mass=h.exact_mass) for h in first]
    features = reranking.features(query, molecules)
    failures = {} if reranking.computed is None else reranking.computed.failures
    lacking = [molecule for molecule in molecules if molecule.key14 in failures]
    if lacking:
        why = f"{lacking[0].smiles!r}: {failures[lacking[0].key14]}"
        told = f"{len(lacking)} of the first {len(first)} candidates have no computed measurement ({why})"
        warnings.warn(f"{told}; they are re-ranked as average ones", stacklevel=3)
    factor = beta.get(len(query), 1.0)
    logits = np.array([factor * sum(cos / tau[name] for name, cos in hit.cosines.items()) for hit in first])
    if fitted is None:
        _warn_not_fitted(reranking.name)
    scores = combined_scores(logits, features, fitted or even_weights(logits, features, names))
    moved = _moved(first, scores, features, names, stated=fitted is not None)
    others = hits[reranking.k :]
    return [*moved, *(others if fitted is not None else [dataclasses.replace(hit, probability=None) for hit in others])]


def _moved(
    first: Sequence[Hit],
    scores: Float[NDArray[np.float64], " k"],
    features: Float[NDArray[np.float64], "k f"],
    names: Sequence[str],
    *,
    stated: bool,
) -> list[Hit]:
    """Return the first hits by their new scores, with what probability they had together where one is stated."""
    shares = np.exp(scores - scores.max())
    known = [hit.probability for hit in first if hit.probability is not None and stated]
    chances = sum(known) * shares / shares.sum()
    return [
        dataclasses.replace(
            first[i],
            rank=rank,
            probability=float(chances[i]) if known else None,
            proven=False,
            rerank_score=float(scores[i]),
            features=dict(zip(names, features[i].tolist(), strict=True)),
        )
        for rank, i in enumerate(np.argsort(-scores, kind="stable").tolist(), start=1)
    ]


def _warn_not_fitted(name: str) -> None:
    warnings.warn(
        f"the weights of re-ranker {name!r} were not fitted for this run: the model and what was compared count the "
        f"same, and the hits have no probability; `molchord evaluate RUN --data MEASURED --rerank {name}` fits them",
        stacklevel=4,
    )


def _agree(saved: WeightsFile, reranker: str, k: int | None, config: Mapping[str, Any]) -> None:
    """Refuse weights that were fitted for something else."""
    other = [f"re-ranker {saved.reranker!r}, not {reranker!r}"] if saved.reranker != reranker else []
    other += [f"`k` {saved.k}, not {k}"] if k not in (None, saved.k) else []
    changed = [key for key, value in config.items() if json.loads(json.dumps(value)) != saved.config.get(key)]
    other += [f"another `{key}`" for key in changed]
    if other:
        raise QueryError(f"the weights for re-ranking were fitted for {other[0]}; evaluate again with it")


def _computed(embedder: Embedder, asked: Rerank, name: str) -> Computed:
    given = [asked.computed] if isinstance(asked.computed, (str, Path, DataSet)) else [*asked.computed]
    if not given and asked.simulator is None:
        raise QueryError(
            f"re-ranker {name!r} compares with computed measurements; name a data set that holds some (`computed`) or "
            "a simulator (`simulator`)"
        )
    datasets = [DataSet.opened(item) for item in given]
    simulator = None
    if asked.simulator is not None:
        from molchord.simulation.simulate import build_simulator  # conformers need RDKit

        simulator = build_simulator(installed(), asked.simulator)
    nodes = {name: embedder.graph.modalities[name] for name in embedder.spectra}
    return Computed(nodes, embedder.modalities, datasets, simulator)
