"""A run: what a trained model can do. The Python face of molchord, and what the command line calls."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from molchord.api import Measurement, Modality, ReadingOptions
from molchord.clean_up import Cleaning, cleaned, recorded, steps_by_modality
from molchord.data.reading import Given, MoleculeSource
from molchord.data.store import DataSet
from molchord.deprecation import renamed
from molchord.embedder import Embedder
from molchord.errors import DataError
from molchord.evaluate.embedding import Perturb
from molchord.evaluate.fitting import calibrate_references, fit_calibration
from molchord.evaluate.measure import measure
from molchord.evaluate.results import Evaluation
from molchord.evaluate.spectral_library import spectral_library
from molchord.explain.reasons import Explanation, explain
from molchord.files import discard
from molchord.graph.changes import realigned
from molchord.graph.resolve import ModelGraph, Use
from molchord.identify.answers import Identified
from molchord.identify.batch import Options, identify
from molchord.identify.samples import Asked, Sample, samples_of
from molchord.library.build import embed_library
from molchord.library.cache import cached_library
from molchord.library.hits import Hit, Hits
from molchord.library.library import Library
from molchord.lock import only_writer
from molchord.model import Model
from molchord.properties import AskedProperty, Estimates, estimated
from molchord.prospects import Prospect
from molchord.query import query_of
from molchord.references import References
from molchord.rerank.rerank import Rerank, Reranking
from molchord.run_folder import RunManifest, read_run_manifest, run_id, training_data
from molchord.run_place import find_run
from molchord.search import search
from molchord.train.training import resume_training, train
from molchord.vocabulary import DEFAULT_POOLS, DEFAULT_PROPERTY, FUSIONS, MODES, Storage


class Run:
    """A trained model with the modalities it was trained on.

    Attributes:
        path: The run folder.
        manifest: What the folder states about the run.
        embedder: The model, ready to embed.
    """

    def __init__(self, embedder: Embedder, manifest: RunManifest) -> None:
        self.path = embedder.path
        self.embedder = embedder
        self.manifest = manifest
        self._asked: dict[str, AskedProperty] = {}

    # --- making runs

    @classmethod
    def load(cls, path: str | Path, *, device: str | None = None) -> Run:
        """Load a run folder, or the shipped run by the word ``pretrained``.

        Plugins are found by name through the registry; no code comes from the folder.

        Raises:
            RunError: The folder is not a run, is damaged, or is of another format.
            GraphError: A configuration no longer validates.

        Warns:
            UserWarning: A plugin has another version than the run was trained with.

        Example:
            >>> from molchord.testing import tiny_run
            >>> run = Run.load(tiny_run().path, device="cpu")
            >>> run.candidate, run.spectra
            ('structure', ('ir',))
        """
        folder = find_run(path)
        manifest = read_run_manifest(folder)
        embedder = Embedder.load(folder, device=device, manifest=manifest)
        manifest.tau = dict(embedder.tau)
        return cls(embedder, manifest)

    @classmethod
    def train(
        cls,
        graph: ModelGraph | str | Path,
        data: DataSet | str | Path,
        out: str | Path | None = None,
        *,
        device: str | None = None,
        force: bool = False,
        progress: bool = True,
        start: Run | None = None,
        loggers: Sequence[str | Use] = (),
    ) -> Run:
        """Train a model graph on a data set into a new run folder.

        Started by `torchrun`, all its processes train one model together, and each returns the run; all must see the
        same folders, and the first one writes.

        Args:
            graph: A resolved graph, or the path of a YAML file.
            data: A data set, or its folder.
            out: The run folder to make; None: a temporary one that lives as long as the run.
            device: "cpu", "cuda", ...; None: a GPU where there is one.
            force: Replace an existing run; a folder that is not a run is never replaced.
            progress: Show progress bars.
            start: A run whose weights and fitted states to start from; towers whose modality the data set lacks stay
                as they are, with a warning.
            loggers: Where to show each epoch's metrics in addition to ``metrics.jsonl``: "tensorboard", or
                ``Use("wandb", project="mine")``. One that fails is named in a warning, and the training continues.

        Raises:
            OutputExistsError: `out` exists and `force` is not set.
            RunError: `out` is not a run, or overlaps the data set or a run that weights come from.
            TrainingStopped: Ctrl-C; the state is saved, `resume` continues it.
            MolchordError: Whatever is wrong with graph or data, in one sentence.

        Example:
            >>> import molchord as mc
            >>> from molchord.testing import examples_of, molecules
            >>> smiles = [molecule.smiles for molecule in molecules()]
            >>> data = mc.from_measurements(smiles, {"ir": examples_of("ir", len(smiles))}, splits=["train"] * 16)
            >>> graph = mc.ModelGraph.of(
            ...     embedding_dim=16,
            ...     modalities={
            ...         "structure": mc.Use("structure", encoder=mc.Use("gine", width=16, hidden=16, layers=2)),
            ...         "ir": mc.Use("ir", encoder=mc.Use("mlp", width=16, hidden=[16])),
            ...     },
            ...     loss=mc.Use("all_pairs"),
            ...     train={"epochs": 1, "batch_size": 8},
            ... )
            >>> run = Run.train(graph, data, progress=False)
            >>> [hit.rank for hit in run.search(run.library(smiles), ir=examples_of("ir", 1)[0], k=2)]
            [1, 2]
        """
        path, temporary, chosen = train(
            graph if isinstance(graph, ModelGraph) else ModelGraph.load(graph),
            DataSet.opened(data),
            None if out is None else Path(out),
            trained=cls._calibrated,
            device=device,
            force=force,
            progress=progress,
            start=None if start is None else start.embedder,
            fitted=None if start is None else start.manifest.fitted,
            loggers=loggers,
        )
        run = cls.load(path, device=chosen)
        if temporary is not None:
            weakref.finalize(run.model, discard, temporary)
        return run

    @classmethod
    def resume(
        cls,
        path: str | Path,
        *,
        data: str | Path | None = None,
        epochs: int | None = None,
        accept_graph: bool = False,
        device: str | None = None,
        progress: bool = True,
        loggers: Sequence[str | Use] = (),
    ) -> Run:
        """Continue a training exactly where it stopped; a finished one is loaded.

        Args:
            path: The run folder.
            data: Where the data set is now, if it was moved; it is known by its checksum.
            epochs: Passes over the data in all, more than the run has done: a finished training goes on, with the state
                of its optimizer and a schedule over that many.
            accept_graph: Take the run's ``graph.yaml`` as it is, though it was edited.
            device: "cpu", "cuda", ...; None: a GPU where there is one.
            progress: Show progress bars.
            loggers: As `train` takes them; earlier ones are not remembered, and continue where they stopped.

        Raises:
            RunError: There is no checkpoint, or the data set or the graph has changed since.

        Example:
            >>> from molchord.testing import tiny_run
            >>> run = Run.resume(tiny_run().path, progress=False)
            >>> run.id == tiny_run().id
            True
        """
        chosen = resume_training(
            Path(path),
            trained=cls._calibrated,
            data=None if data is None else Path(data),
            epochs=epochs,
            accept_graph=accept_graph,
            device=device,
            progress=progress,
            loggers=loggers,
        )
        return cls.load(path, device=chosen)

    @classmethod
    def _calibrated(cls, path: Path, dataset: DataSet, device: str) -> None:
        run = cls.load(path, device=device)  # whose folder the training holds
        run.embedder = fit_calibration(run.embedder, run.manifest, dataset, None, None)

    def calibrate(
        self,
        data: DataSet | str | Path | None = None,
        *,
        perturb: Perturb | None = None,
        where: Mapping[str, Mapping[str, Any]] | None = None,
        references: bool = False,
    ) -> None:
        """Fit temperatures, confidence and what counts as out_of_distribution, and save them with the run.

        They are fitted on validation queries of every subset of spectra, and training does so at its end. Do it again
        for other queries, or for weights that have changed.

        Args:
            data: The data set whose validation queries to take, and what of its training split the run has not seen;
                None: the one the run was trained on. Spectra that it lacks keep what was fitted before.
            perturb: Makes of modality, measurement and key14 of such a query the measurement that is searched with:
                computed spectra as an instrument would give them, for confidence that is not only about clean ones.
            where: Which measurements to take, by modality, such as ``{"ir": {"origin": "measured"}}``.
            references: Fit how much references count instead, by which `search` takes them; some dozens of the
                molecules need several measurements, and everything else stays as it was fitted.

        Raises:
            DataError: Too few molecules have several measurements for `references`.

        Warns:
            UserWarning: There are too few queries, so hits will carry no probability.

        Example:
            >>> from molchord.testing import tiny_run
            >>> run = tiny_run()
            >>> run.calibrate()
            >>> sorted(run.manifest.tau)
            ['ir']
        """
        with only_writer(self.path):
            if references:
                calibrate_references(self.embedder, self.manifest, self._data(data), perturb, where)
            else:
                self.embedder = fit_calibration(self.embedder, self.manifest, self._data(data), perturb, where)

    @renamed("Run.realign", free="trainable")
    def realign(
        self,
        data: DataSet | str | Path,
        out: str | Path | None = None,
        *,
        trainable: Sequence[str] | None = None,
        epochs: int = 40,
        lr: float | None = None,
        weight_decay: float | None = None,
        where: Mapping[str, Mapping[str, Any]] | None = None,
        force: bool = False,
        progress: bool = True,
        loggers: Sequence[str | Use] = (),
    ) -> Run:
        """Adapt the run to other data, such as measured spectra, by training it a little longer.

        The defaults are those that found the most measured spectra (docs, "Realign to experiment").

        Args:
            data: The new data, such as experimental spectra of the same modalities.
            out: The new run folder.
            trainable: Dotted parts to train, or ``heads`` for the last layer of every projection head, as published
                (Rocabert-Oriols et al. 2025, "Realignment", for 15 epochs; their code with `lr` 1e-5 and `weight_decay`
                0.01); None: every tower.
            epochs: Passes over the data.
            lr: Learning rate; None: that of the run's graph.
            weight_decay: Weight decay; None: that of the run's graph.
            where: Which measurements to use, by modality, in place of the graph's ``where``: ``{"ir": {}}`` takes all
                IR spectra.
            force: Replace an existing run.
            progress: Show progress bars.
            loggers: As `train` takes them.

        Raises:
            GraphError: An unknown part, column or value, or no epoch.
            MolchordError: As `train` raises.

        Warns:
            UserWarning: The data lacks a modality of the run; its tower stays as it is.

        Example:
            >>> from molchord.testing import tiny_data, tiny_run
            >>> moved = tiny_run().realign(tiny_data(), epochs=1, progress=False)
            >>> sorted(part for part, trained in moved.graph.train.trainable.items() if trained)
            ['modalities.ir', 'modalities.structure']
        """
        graph = realigned(self.graph, trainable, epochs, lr, where, weight_decay)
        device = str(self.device)
        return Run.train(graph, data, out, device=device, force=force, progress=progress, start=self, loggers=loggers)

    # --- what it knows

    @property
    def graph(self) -> ModelGraph:
        """The resolved model graph."""
        return self.embedder.graph

    @property
    def model(self) -> Model:
        """The model, in evaluation mode."""
        return self.embedder.model

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """What each modality plugin built."""
        return self.embedder.modalities

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.embedder.device

    @property
    def candidate(self) -> str:
        """Name of the modality that is retrieved."""
        return self.embedder.candidate

    @property
    def spectra(self) -> tuple[str, ...]:
        """Names of the modalities that can be a query."""
        return self.embedder.spectra

    @property
    def id(self) -> str:
        """Digest of graph and weights; a library knows by it which run embedded it."""
        return run_id(self.path)

    def data(self) -> DataSet:
        """Open the data set that the run was trained on.

        Raises:
            RunError: It is no longer there, or it has changed.
        """
        return training_data(self.path, self.manifest)

    def _data(self, data: DataSet | str | Path | None) -> DataSet:
        return self.data() if data is None else DataSet.opened(data)

    # --- embedding

    @renamed("Run.embed", anchors="scalar_features")
    def embed(
        self, modality: str, given: Given, *, scalar_features: Mapping[str, float] | None = None
    ) -> Float[NDArray[np.float32], "n d"]:
        """Embed measurements as unit vectors.

        Args:
            modality: Name in the graph.
            given: A file, a `Measurement`, or several; SMILES for a modality made from the molecule.
            scalar_features: Known numbers, such as ``{"exact_mass": 180.042}``; ignored by towers without any.

        Raises:
            QueryError: The run lacks the modality, a file cannot be read, or a measurement cannot be used.

        Example:
            >>> from molchord.testing import examples_of, tiny_run
            >>> tiny_run().embed("ir", examples_of("ir", 2)).shape
            (2, 16)
            >>> tiny_run().embed("structure", ["CCO", "CC#N", "CSC"]).shape
            (3, 16)
        """
        return self.embedder.embed(modality, self.measurements(modality, given), scalar_features).numpy()

    def measurements(
        self,
        modality: str,
        given: Given,
        *,
        of_one: bool = False,
        same_sample: bool = False,
        options: ReadingOptions | None = None,
    ) -> list[Measurement]:
        """Read what `embed` and `search` accept as measurements of one modality.

        A table that does not say all itself is read as `options` say, and given to `search` as what was read:
        ``run.search(library, ir=run.measurements("ir", "a.csv", options=mc.ReadingOptions(x_unit="um")))``.

        Raises:
            QueryError: The run lacks the modality, a file cannot be read or names itself as another modality, or with
                `of_one` and without `same_sample` what is given states that it is of several molecules.
        """
        return self.embedder.measurements(modality, given, of_one=of_one, same_sample=same_sample, options=options)

    # --- finding molecules

    def library(
        self,
        source: MoleculeSource,
        out: str | Path | None = None,
        *,
        spectra: bool = False,
        storage: Storage = "fp32",
        engine: str = "local",
        address: str | None = None,
        workers: int | None = None,
        force: bool = False,
        progress: bool = False,
    ) -> Library:
        """Embed candidate structures as a library.

        If interrupted, a second call continues where it stopped: finished shards are in ``<out>.parts``.

        Args:
            source: SMILES, a text, CSV or Parquet file of them (column ``smiles``), read as it is needed, or a data set
                whose molecules to take.
            out: Folder to make; None: a temporary one.
            spectra: Embed the data set's own spectra too, which permits library mode.
            storage: What a search scans: "fp32", or "bf16" or "int8" in addition to it, as `Library.create` has it.
            engine: "local", or "ray" for Ray Data (extra ``ray``); the library is the same up to rounding (1e-5).
            address: Of a Ray cluster whose machines see the same folders; None: Ray runs on this machine alone.
            workers: Processes that make conformers and graphs; Ray's cores, where it runs on this machine alone.
            force: Replace an existing folder.
            progress: Show a progress bar.

        Returns:
            The library; its folder lists molecules that could not be embedded in ``failures.csv``.

        Raises:
            DataError: The file cannot be read, no molecule could be embedded, or molecules or run are not those of the
                finished shards.
            OutputExistsError: `out` exists and `force` is not set.

        Example:
            >>> from molchord.testing import tiny_run
            >>> library = tiny_run().library(["CCO", "CC#N", "no molecule"])
            >>> len(library), (library.path / "failures.csv").is_file()
            (2, True)
        """
        if spectra:
            return spectral_library(
                self.embedder, source, out, run=self.id, storage=storage, engine=engine, force=force
            )
        return embed_library(
            self.embedder,
            source,
            out,
            run=self.id,
            storage=storage,
            engine=engine,
            address=address,
            workers=workers,
            force=force,
            progress=progress,
        )

    @renamed("Run.search", map="fusion")
    def search(
        self,
        library: Library | str | Path,
        *,
        k: int = 25,
        fusion: str = "gm-exp",
        mode: str = "blind",
        mass: float | None = None,
        ppm: float | None = None,
        da: float | None = None,
        formula: str | None = None,
        elements: str | Sequence[str] | None = None,
        rerank: Rerank | str | None = None,
        index: str | None = None,
        use_precursor: bool = False,
        same_sample: bool = False,
        references: References | DataSet | str | Path | None = None,
        clean: Cleaning | Mapping[str, Cleaning] | None = None,
        **spectra: Given,
    ) -> Hits:
        """Rank a library's candidates by the geometric mean of their similarities to the given spectra.

        Args:
            library: Candidates embedded by this run, or their folder.
            k: How many hits.
            fusion: ``gm-exp``, ``gm-half``, ``gm-clamp``, or ``published`` (VibraCLIP's equation 6).
            mode: ``blind``, or ``library`` where the library holds spectra.
            mass: Exact mass in Da; a filter with `ppm` or `da`, and what towers with mass as a scalar feature take.
            ppm: Half width of the mass window in ppm.
            da: Half width of the mass window in Da.
            formula: Sum formula that candidates must have.
            elements: The only elements that candidates may hold, such as ``C,H,N,O``.
            rerank: Re-ranker for the first hits, with the weights that `evaluate` left in the run's folder; without any
                the model and the re-ranker count the same, and hits have no probability.
            index: Name of an index of the library that proposes the candidates to score; None: all are searched. Its
                hits carry no probability, and state whether a better candidate may be missing.
            use_precursor: Take the mass from the m/z and adduct that the spectra state, with `ppm` or `da` around it.
            same_sample: Take several measurements of one modality for those of one sample, though they state that they
                are of different molecules.
            references: Data set whose measurements are compared with the query, spectrum to spectrum, by the modality's
                own similarity; its molecules join the candidates, and each hit says by what it was found. Opened once
                with `open_references`, it serves many searches.
            clean: Steps of clean-up that measured spectra go through first, such as ``"baseline,crop=500:4000"``, for
                all modalities that have such steps, or by modality; the hits' `cleaned` records them.
            spectra: Files or measurements by modality; several of one modality count as one factor.

        Raises:
            QueryError: No spectrum was given, one cannot be used, several are of different molecules, they do not state
                the one mass that `use_precursor` needs, a step does not fit, or no candidate passes the filters.

        Warns:
            UserWarning: A measurement has quality warnings, such as one in the wrong unit, upside down or of
                only a part of the range, or contradicts the mass, the formula or another spectrum; the hits carry the
                sentence and a lower probability.

        Example:
            >>> from molchord.testing import examples_of, tiny_run
            >>> run = tiny_run()
            >>> hits = run.search(run.library(["CCO", "CC#N", "CSC"]), ir=examples_of("ir", 1), k=2)
            >>> [hit.rank for hit in hits], list(hits[0].cosines)
            ([1, 2], ['ir'])
        """
        library = library if isinstance(library, Library) else Library(Path(library))
        library.expect_run(self.id)
        reranking = None if rerank is None else Reranking.for_search(self.embedder, rerank, fusion=fusion, mode=mode)
        steps = steps_by_modality(clean, self.modalities, [*spectra])
        for name, own in steps.items():
            found = self.measurements(name, spectra[name], of_one=True, same_sample=same_sample)
            spectra[name] = cleaned(self.modalities[name], name, found, own)
        query = query_of(self.embedder, spectra, mass, use_precursor=use_precursor, same_sample=same_sample)
        hits = search(
            self.embedder,
            self.manifest,
            library,
            query,
            k=k,
            fusion=fusion,
            mode=mode,
            mass=query.mass,
            ppm=ppm,
            da=da,
            formula=formula,
            elements=elements,
            reranking=reranking,
            index=index,
            references=self.open_references(references),
        )
        said = {name: recorded(self.modalities[name], steps.get(name, ())) for name in spectra}
        hits.cleaned = {name: own for name, own in said.items() if own}
        return hits

    def open_references(self, data: References | DataSet | str | Path | None) -> References | None:
        """Open a data set as references for many searches; what is open already, or None, is returned as it is.

        Raises:
            DataError: It is no data set, or has a measurement of none of the run's spectra.

        Example:
            >>> from molchord.testing import examples_of, tiny_data, tiny_run
            >>> run = tiny_run()
            >>> references = run.open_references(tiny_data())
            >>> hits = run.search(run.library(["CCO"]), ir=examples_of("ir", 1), k=2, references=references)
            >>> hits[0].reference in ("measured reference", "computed reference", "structure only")
            True
        """
        if data is None or isinstance(data, References):
            return data
        try:
            return References(self.embedder, DataSet.opened(data))
        except DataError as error:
            raise DataError(
                f"`references` cannot be used ({error}); give a data set, as `molchord data import` writes it"
            ) from error

    def next_measurement(self, library: Library | str | Path, **query: Any) -> tuple[Prospect, ...]:
        """Say which measurement not yet made would tell the first candidates of a search apart, the best one first.

        Args:
            library: Candidates.
            query: As `search` takes it, which gives the same as ``search(...).prospects``.

        Returns:
            Empty where the run was calibrated before this was fitted, or every spectrum that it takes was given.

        Example:
            >>> from molchord.testing import examples_of, tiny_run
            >>> run = tiny_run()
            >>> run.next_measurement(run.library(["CCO", "CC#N"]), ir=examples_of("ir", 1))
            ()
        """
        return self.search(library, **query).prospects

    def explain(
        self,
        hits: Sequence[Hit],
        *,
        hit: int = 1,
        others: int = 4,
        mass: float | None = None,
        against: DataSet | str | Path | Mapping[str, Measurement] | None = None,
        **spectra: Given,
    ) -> Explanation:
        """Find out which parts of the spectra speak for a hit, by leaving each of them out once.

        Args:
            hits: What `search` found with these spectra.
            hit: Rank of the hit to explain.
            others: How many of the other first hits it is held against.
            mass: As for `search`, where towers take it in.
            against: Spectra of the candidate to draw below those of the query: a data set that may have some, or one
                measurement for each modality.
            spectra: As for `search`.

        Raises:
            QueryError: There is no such hit, or as `search` raises about the spectra.

        Example:
            >>> from molchord.testing import examples_of, tiny_run
            >>> run = tiny_run()
            >>> unknown = examples_of("ir", 1)
            >>> hits = run.search(run.library(["CCO", "CC#N", "CSC"]), ir=unknown)
            >>> why = run.explain(hits, ir=unknown)
            >>> why.reasons["ir"][0].window.name, len(why.others)
            ('500-600 cm^-1', 2)
        """
        return explain(self.embedder, self.manifest, hits, spectra, hit=hit, others=others, mass=mass, against=against)

    def write_report(
        self,
        hits: Hits,
        out: str | Path,
        *,
        title: str = "",
        mass: float | None = None,
        clean: Cleaning | Mapping[str, Cleaning] | None = None,
        references: References | DataSet | str | Path | None = None,
        why: bool = True,
        asked: Mapping[str, Any] | None = None,
        force: bool = False,
        **spectra: Given,
    ) -> None:
        """Write what a search found as one page to read, print and send on.

        Args:
            hits: What `search` found with these spectra.
            out: HTML file to write.
            title: What the sample is called; empty: as the page's file.
            mass: As for `search`.
            clean: As for `search`.
            references: As for `search`: a spectrum of the first hit from there is drawn below the query's.
            why: Shade what speaks for the first hit, which takes a second or two.
            asked: What else was known, to be printed, such as ``{"formula": "C8H9NO2"}``.
            force: Replace `out` where it exists.
            spectra: As for `search`.

        Raises:
            OutputExistsError: `out` exists and `force` is not set.
            OutputError: `out` cannot be written.
            QueryError: As `search` raises about the spectra.

        Example:
            >>> from tempfile import mkdtemp
            >>> from molchord.testing import examples_of, tiny_run
            >>> run, unknown = tiny_run(), examples_of("ir", 1)
            >>> hits = run.search(run.library(["CCO", "CC#N", "CSC"]), ir=unknown)
            >>> page = Path(mkdtemp()) / "unknown.html"
            >>> run.write_report(hits, page, ir=unknown)
            >>> page.read_text()[:15]
            '<!doctype html>'
        """
        from molchord.identify.search_report import write_search_page

        read = {name: self.measurements(name, given, of_one=True, same_sample=True) for name, given in spectra.items()}
        write_search_page(
            self.embedder, self.manifest, hits, read, Path(out), title=title or Path(out).stem, mass=mass,
            steps=steps_by_modality(clean, self.modalities, [*spectra]), references=self.open_references(references),
            why=why, asked=asked or {}, force=force,
        )  # fmt: skip

    def groups(self, hits: Hits | Sequence[Hit], use: str | Use = DEFAULT_PROPERTY) -> Estimates:
        """Estimate which functional groups the unknown has, whether or not it is among the candidates.

        Args:
            hits: What a blind `search` found; the first 100 count, so search with ``k=100``.
            use: The property to ask of the hits, with its configuration where it has one.

        Raises:
            PluginError: There is no such property, or it fails.
            QueryError: There is no hit.

        Example:
            >>> from molchord.testing import examples_of, tiny_run
            >>> run = tiny_run()
            >>> found = run.groups(run.search(run.library(["CCO", "CC#N", "CSC"]), ir=examples_of("ir", 1)))
            >>> len(found.estimates), found["ester"].share
            (37, 0.0)
        """
        key = json.dumps(use, sort_keys=True, default=str)
        if key not in self._asked:
            self._asked[key] = AskedProperty(use)
        return estimated(self._asked[key], hits, self.path, self.manifest)

    def identify(
        self,
        files: str | Path | Sequence[str | Path] = (),
        candidates: MoleculeSource | Library = "ordinary",
        *,
        samples: str | Path | Sequence[Sample] | None = None,
        out: str | Path | None = None,
        k: int = 5,
        fusion: str = "gm-exp",
        mass: float | None = None,
        ppm: float | None = None,
        da: float | None = None,
        formula: str | None = None,
        elements: str | None = None,
        use_precursor: bool = False,
        clean: Cleaning | Mapping[str, Cleaning] | None = None,
        references: References | DataSet | str | Path | None = None,
        cache: str | Path | None = None,
        force: bool = False,
        progress: bool = False,
        why: bool = False,
    ) -> Identified:
        r"""Give one answer per sample of a folder of spectra.

        Args:
            files: Folders and files; those whose names are equal up to suffix and spectrum are one sample, and each
                entry of a file of many is one.
            candidates: A library, or a list that is embedded once and kept: SMILES, a file of them, a table, an SD
                file, a data set, or the name of a list that comes with molchord.
            samples: A table of samples and their files, or samples that `molchord.identify.samples` made.
            out: Folder for ``results.csv``, ``hits.sdf``, ``results.json``, ``report.html`` and ``failures.csv``; where
                it holds answers of the same candidates and options, their samples are not searched again.
            k: Hits per sample.
            fusion: As `search` takes it.
            mass: Exact mass in Da of all samples whose table does not say it.
            ppm: Half width of the mass window in ppm.
            da: Half width of the mass window in Da.
            formula: Sum formula of all samples whose table does not say it.
            elements: The only elements that candidates may hold, such as ``C,H,N,O``.
            use_precursor: Take the mass of samples that it is not known of from the ions that their spectra state.
            clean: As `search` takes it.
            references: As `search` takes them.
            cache: Where embedded lists are kept; None: the user's cache folder.
            force: Start again where `out` holds answers of something else.
            progress: Show progress bars.
            why: Shade in the report what speaks for each first hit, which takes a second or two per sample; of the
                first 50 samples.

        Raises:
            QueryError: An argument is wrong, or there is no file; a file that cannot be read fails its sample only.
            DataError: The candidates cannot be read.
            OutputError: A folder cannot be written.

        Example:
            >>> from tempfile import mkdtemp
            >>> from molchord.testing import examples_of, tiny_run
            >>> file = Path(mkdtemp()) / "unknown.ir.csv"
            >>> _ = file.write_text("".join(f"{x},{1 / (1 + (x - 1700) ** 2 / 400)}\n" for x in range(500, 4000, 2)))
            >>> run = tiny_run()
            >>> [answer] = run.identify(file, run.library(["CCO", "CC#N", "CSC"]), k=2).answers
            >>> answer.sample, [hit.rank for hit in answer.hits]
            ('unknown', [1, 2])
        """
        asked = Asked.of(mass=mass, formula=formula, elements=elements, ppm=ppm, da=da)
        given = [files] if isinstance(files, (str, Path)) else list(files)
        if samples is None or isinstance(samples, (str, Path)):
            samples = samples_of(given, self.spectra, samples, asked)
        if isinstance(candidates, Library):
            candidates.expect_run(self.id)
            library = candidates
        else:
            library = cached_library(self.embedder, candidates, run=self.id, cache=cache, progress=progress)
        return identify(
            self.embedder,
            self.manifest,
            library,
            samples,
            Options(k=k, fusion=fusion, ppm=ppm, da=da, use_precursor=use_precursor, clean=clean),
            run=self.id,
            references=self.open_references(references),
            out=None if out is None else Path(out),
            force=force,
            progress=progress,
            why=why,
        )

    @renamed("Run.evaluate", maps="fusions")
    def evaluate(
        self,
        data: DataSet | str | Path | None = None,
        *,
        pools: Sequence[str] = DEFAULT_POOLS,
        modes: Sequence[str] = MODES,
        fusions: Sequence[str] = FUSIONS,
        split: str = "test",
        candidates_only: Run | None = None,
        where: Mapping[str, Mapping[str, Any]] | None = None,
        perturb: Perturb | None = None,
        combine: bool = False,
        rerank: Rerank | str | None = None,
        baselines: bool = True,
        audit: bool = True,
        pictures: bool | None = None,
        projection: str = "pca",
        seed: int = 0,
        out: Path | None = None,
        scores: Path | None = None,
        force: bool = False,
        progress: bool = False,
    ) -> Evaluation:
        """Measure the run on held-out molecules, next to the baselines that need no further training.

        Args:
            data: A data set; None: the one it was trained on.
            pools: ``test``, ``all``, ``all:N``, ``isomers``, ``unseen:N``, ``mass:Xppm``.
            modes: ``blind`` and ``library``, never mixed.
            fusions: Forms of the geometric mean, or ``published``.
            split: The split whose molecules are queries.
            candidates_only: A run of the same graph trained with ``train.candidates_only``.
            where: Which measurements to use, by modality, in place of the graph's ``where``.
            perturb: ``perturb(modality, measurement, key14)`` gives the measurement that a query is searched with in
                place of the stored one, to measure robustness; blind mode only, as candidates' spectra stay as stored.
            combine: Search with all measurements of a modality that a molecule has as one factor, not one by one.
            rerank: Re-ranker that gets rows of its own, measured queries only; its weights are fitted on the queries of
                split ``val`` and, where `out` is given, written as ``rerank.json`` into the run's own folder, where
                `search` finds them.
            baselines: Whether to measure the baselines that read spectra, or see none (`candidates_only`), or rank by
                a re-ranker's features alone.
            audit: Whether to audit the split.
            pictures: Whether to make the pictures of what the run learned, as numbers in `Evaluation.pictures` and
                drawn in the report; None: where `out` is given.
            projection: How the embedding space is laid out for them: ``pca`` or ``umap``, which needs umap-learn.
            seed: Of the bootstrap, of the drawn mass errors and of what the pictures draw.
            out: Folder for ``evaluation.json``, ``evaluation.csv`` and ``report.html``, and for ``unusable.csv`` where
                a measurement cannot be used; None: nothing is written.
            scores: Parquet file for the score of every candidate of the first pool for every query; None: none.
            force: Replace these files.
            progress: Show progress bars.

        Raises:
            OutputExistsError: One of the files exists and `force` is not set.
            DataError: The data set has a measurement of none of the run's modalities, or no query.
            RunError: A re-ranker's weights would go into the run that is shipped.

        Example:
            >>> from molchord.testing import tiny_run
            >>> found = tiny_run().evaluate(pools=["test"], modes=["blind"], fusions=["gm-exp"])
            >>> found.find("ir", system="model").molecules
            4
        """
        return measure(
            self.embedder,
            self.manifest,
            self._data(data),
            run=self.id,
            pools=pools,
            modes=modes,
            fusions=fusions,
            split=split,
            candidates_only=None if candidates_only is None else candidates_only.embedder,
            where=where,
            perturb=perturb,
            combine=combine,
            rerank=rerank,
            baselines=baselines,
            audit=audit,
            pictures=pictures,
            projection=projection,
            seed=seed,
            out=out,
            scores=scores,
            force=force,
            progress=progress,
        )
