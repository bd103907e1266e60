"""The training loop: any subset of modalities per molecule, exact resume, best weights by a validation metric."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from molchord.api import Featurizes, Fits, LossOutput
from molchord.data.derived import features
from molchord.data.loader import (
    Batches,
    BatchShard,
    Collate,
    Missing,
    sources,
)
from molchord.data.scalars import scalar_table
from molchord.data.store import DataSet
from molchord.device import choose_device, to_device
from molchord.errors import DataError, RunError, newer_version
from molchord.files import append_line, keep_previous
from molchord.graph.resolve import ModelGraph
from molchord.model import Model, build_modalities
from molchord.retrieval.metrics import blind_mrr
from molchord.run_folder import initialise, load_into, read_weights, taken_scalar_features, taken_states, write_weights
from molchord.seeding import drawn, random_state
from molchord.train.batch_statistics import synchronise, with_batch_statistics
from molchord.train.hard_negatives import HardNegatives
from molchord.train.nonfinite import SKIPPED_IN_A_ROW, cause_of
from molchord.train.optimization import (
    moving_average,
    parameter_groups,
    schedule_factor,
    set_trained,
    training_mode,
    under,
)
from molchord.train.processes import Processes
from molchord.train.step import Step, autocast
from molchord.train.turns import Turns

_REMEDY = "correct that, or lower `train.optimizer.lr` or `train.clip_norm`; the last checkpoint is good"
UNIT = 2.0**-32
CHECKPOINT_FORMAT = 1
LAST, PREVIOUS = "last.safetensors", "previous.safetensors"
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a training once its step is done."""


@dataclass
class Progress:
    """The state of a training; saved with every checkpoint.

    Attributes:
        history: Bytes of ``metrics.jsonl`` that belong to it; None: of a checkpoint of molchord 0.1.
        skipped: Steps left out since they were not finite; `in_a_row`, those at its end.
        counted: Batches of the current epoch in `sums`.
        sums: Metrics of the current epoch, in units of `UNIT`: whole numbers, so that no order of adding changes them.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    plateau: float = 1.0
    since_cut: int = 0
    best: float | None = None
    best_epoch: int = 0
    since_best: int = 0
    lines: int = 0
    history: int | None = None
    skipped: int = 0
    in_a_row: int = 0
    counted: int = 0
    sums: dict[str, int] = field(default_factory=dict)
    absent: list[list[str]] = field(default_factory=list)
    done: bool = False


class Trainer:
    """Trains one model graph on one data set into one run folder.

    Args:
        graph: Resolved model graph.
        dataset: Data set.
        device: Where to train; None: a GPU where there is one.
        fitted: Fitted states of modalities to take over instead of fitting anew.
        missing: What happens to a modality without measurements: refused, or its tower stays as it is.
        progress: Show progress bars.
        processes: Those that train together; None: this one alone.

    Raises:
        DataError: The data set has no molecule to train on.
        RunError: `train.mini_batch_size` divides batches of which a tower takes statistics.
    """

    def __init__(
        self,
        graph: ModelGraph,
        dataset: DataSet,
        *,
        device: str | None = None,
        fitted: Mapping[str, Mapping[str, Any]] | None = None,
        missing: Missing = "refuse",
        progress: bool = True,
        processes: Processes | None = None,
    ) -> None:
        if graph.train.deterministic:
            # cuBLAS reads it at its first call; without it, torch refuses matrix products on a GPU.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        self.graph = graph
        self.config = graph.train
        self.dataset = dataset
        self.device = choose_device(device)
        self.processes = processes or Processes()
        self.show = progress and self.processes.rank == 0
        # A part from another run was trained on that run's scaling.
        fitted = taken_states(graph.train.init) if fitted is None else fitted
        self.modalities = build_modalities(graph, fitted)
        self.sources = sources(
            graph, self.modalities, dataset, missing=missing, workers=self.config.workers, progress=self.show
        )
        self._note_untrained(missing)
        unmeasured = [f"modalities.{name}" for name, source in self.sources.items() if source.missing is not None]
        if unmeasured:  # not trained, since weight decay alone would change them
            others = {p: on for p, on in graph.train.trainable.items() if not any(under(p, u) for u in unmeasured)}
            trainable = others | dict.fromkeys(unmeasured, False)
            self.config = graph.train.model_copy(update={"trainable": trainable})
        for name, share in self.config.missing.items():
            source = self.sources[name]
            there = np.intersect1d(dataset.rows("train"), source.table.molecule[source.measurements()])
            source.leave_out(self._drawn(there, share, f"missing {name}"))
        self.present = {name: source.present(len(dataset)) for name, source in self.sources.items()}
        self.rows = {split: self._usable(split) for split in ("train", "val")}
        self.rows["train"] = self._drawn(self.rows["train"], self.config.fraction, "fraction")
        self._check_rows()
        self.fitted = {name: dict(state) for name, state in fitted.items()} | self._fit(fitted)
        self.model = Model(graph, self.modalities).to(self.device)
        if self.processes.size > 1:
            synchronise(self.model)
        set_trained(self.model, self.config)
        self._check_chunk()
        scalar_features = scalar_table(dataset, graph.scalar_features)
        self._standardise(scalar_features)
        self._collate = Collate(self.modalities, scalar_features, self._loss_features())
        self.optimizer = self._optimiser()
        self.turns = Turns(graph, self.modalities) if self.config.alternate_pairs else None
        self.ema = moving_average(self.model, self.config.ema) if self.config.ema is not None else None
        self.hard = self._hard_negatives() if self.config.hard_negatives else None
        self.step = Step(graph, self.config, self.model, self.device, self.processes, self.hard)
        self.state = Progress()
        self._absent: set[tuple[str, str, str]] = set()
        self.signal = 0
        self._stop = False  # what all processes have agreed upon
        self._cause = "so was none before the training was taken up"
        self._statistics = _statistics(self.model)

    # --- set-up

    def _optimiser(self) -> torch.optim.Optimizer:
        config = self.config.optimizer
        kind = torch.optim.AdamW if config.use == "adamw" else torch.optim.Adam
        return kind(parameter_groups(self.model, config), betas=config.betas, fused=True)

    def _note_untrained(self, missing: Missing) -> None:
        """Refuse a modality that no training molecule has a measurement of, or keep its tower as it is."""
        train = self.dataset.rows("train")
        for name, source in self.sources.items():
            if source.missing is None and not source.present(len(self.dataset))[train].any():
                source.missing = (
                    f"data set {str(self.dataset.path)!r} has measurements for modality {name!r}, but none of a "
                    "training molecule; change the split or `where`, or leave the modality out of the graph"
                )
                if missing == "refuse" and len(train):
                    raise DataError(source.missing)

    def _check_rows(self) -> None:
        """Refuse data of which no batch can be made, or that lacks what is watched."""
        together = max((count for pair, count in self.counts().items() if "+" in pair), default=0)
        if together < 2 or self.config.batch_size < 2:
            raise DataError(
                f"data set {str(self.dataset.path)!r} has {together} training molecules with the same two of the "
                f"modalities {sorted(self.graph.modalities)}, in batches of {self.config.batch_size}; a contrastive "
                "loss needs two molecules a batch: import more measurements, or change split or batch size"
            )
        watched = self.config.schedule.use == "plateau" or self.config.stopping.patience is not None
        if watched and len(self.rows["val"]) == 0:
            raise DataError(
                f"data set {str(self.dataset.path)!r} has no validation molecule with two of the modalities, which "
                "`schedule.use: plateau` and `stopping.patience` watch; change the split, or leave both out"
            )

    def _loss_features(self) -> Mapping[str, NDArray[Any]]:
        """Return what the loss needs of the molecules themselves, a row for each."""
        loss, node = self.model.loss, self.graph.loss
        if not isinstance(loss, Featurizes):
            return {}
        return features(self.dataset, node.use, loss, node.config, version=node.plugin.version)

    def _hard_negatives(self) -> HardNegatives:
        return HardNegatives(
            self.rows["train"],
            width=self.graph.embedding_dim,
            group=self.config.hard_negatives,
            batch_size=self.config.batch_size,
            device=self.device,
        )

    def _check_chunk(self) -> None:
        if self.config.mini_batch_size is None or self.config.mini_batch_size >= self.config.batch_size:
            return
        training_mode(self.model, self.config)
        found = with_batch_statistics(self.model)
        if found:
            raise RunError(
                f"`train.mini_batch_size` {self.config.mini_batch_size} divides batches of "
                f"{self.config.batch_size}, but {found[0]!r} normalises by whole batches; leave `mini_batch_size` "
                "out, do not train that part, or choose an encoder without batch normalisation"
            )

    def _usable(self, split: str) -> NDArray[np.int64]:
        rows = self.dataset.rows(split)
        modalities = sum((mask[rows].astype(int) for mask in self.present.values()), np.zeros(len(rows), dtype=int))
        return rows[modalities >= 2]

    def _drawn(self, rows: NDArray[np.int64], share: float, name: str) -> NDArray[np.int64]:
        """Return a share of some molecules, drawn by seed and key14."""
        return rows if share == 1 else rows[drawn(self.dataset.keys(rows), share, self.graph.seed, name)]

    def _fit(self, known: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Fit the modalities whose state is not known."""
        states = {}
        train = np.zeros(len(self.dataset), dtype=bool)
        train[self.dataset.rows("train")] = True
        for name, source in self.sources.items():
            if isinstance(source.modality, Fits) and name not in known:
                indices = (i for i in source.measurements() if train[source.table.molecule[i]])
                states[name] = dict(source.modality.fit(source.table.read(int(i)) for i in indices))
                source.modality.restore(states[name])
        return states

    def _standardise(self, scalar_features: NDArray[np.float32]) -> None:
        if not self.graph.scalar_features:
            return
        for column, name in enumerate(self.graph.scalar_features):
            known = scalar_features[self.rows["train"], column]
            known = known[~np.isnan(known)]
            if len(known) == 0:
                warnings.warn(
                    f"scalar feature {name!r} is known of no training molecule of data set {str(self.dataset.path)!r}, "
                    "so nothing is learned from it; leave it out, or import it",
                    stacklevel=2,
                )
                continue
            self.model.scalar_mean[column] = float(known.mean())
            self.model.scalar_std[column] = float(known.std()) or 1.0

    def counts(self) -> dict[str, int]:
        """Return how many training molecules have each modality and each pair."""
        rows = self.rows["train"]
        out = {"molecules": len(rows)}
        out |= {name: int(mask[rows].sum()) for name, mask in self.present.items()}
        for a, b in combinations(self.present, 2):
            out[f"{a}+{b}"] = int((self.present[a] & self.present[b])[rows].sum())
        return out

    def batches(self, rows: NDArray[np.int64], *, shuffle: bool) -> Batches:
        """Return the batches of some molecules, in training (shuffled, augmented) or in order."""
        workers = _default_workers(self.device) if self.config.workers is None else self.config.workers
        return Batches(
            self.sources,
            self._collate,
            rows,
            batch_size=self.config.batch_size,
            seed=self.graph.seed,
            workers=workers if shuffle else 0,
            shuffle=shuffle,
            # what is in order is for validation, which one process does
            chunk=self.config.mini_batch_size if shuffle else None,
            rank=self.processes.rank if shuffle else 0,
            processes=self.processes.size if shuffle else 1,
        )

    # --- one step

    def learn(self, share: BatchShard, number: int, weight: float = 1.0) -> LossOutput:
        """Add the gradients of batch `number` of the epoch, as `Step.learn` does."""
        if self.turns is not None:
            batches = -(-len(self.rows["train"]) // self.config.batch_size)
            share = self.turns.share(share, self.state.epoch * batches + number)
        return self.step.learn(share, (self.graph.seed, self.state.epoch, number), weight)

    def _set_rates(self, batches: int) -> None:
        # The rate that a step uses is that of its end, so that the first step of a warm-up is not lost at rate 0.
        done = self.state.epoch + min(1.0, (self.state.batch + self.config.accumulate_grad_batches) / batches)
        factor = schedule_factor(self.config, done) * self.state.plateau
        for group in self.optimizer.param_groups:
            group["lr"] = max(group["base_lr"] * factor, min(self.config.schedule.minimum, group["base_lr"]))

    def _gradient(self) -> Tensor:
        """Join the gradients of all processes, limit them, and return their norm."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.processes.sum_gradients(parameters)
        if self.turns is not None:
            self.turns.rest(self.model)
        limit = self.config.clip_norm if self.config.clip_norm is not None else math.inf
        return nn.utils.clip_grad_norm_(parameters, limit)

    def _step(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update_parameters(self.model)
        self.state.step += 1
        self.state.in_a_row = 0
        self._statistics = _statistics(self.model)

    def _skip(self, shares: list[tuple[int, BatchShard]]) -> None:
        """Leave a step out that is not finite, saying why; weights and statistics stay those of the step before.

        Raises:
            RunError: It is one of many in a row.
        """
        seeds = [((self.graph.seed, self.state.epoch, number), share) for number, share in shares]
        with torch.no_grad():
            for name, values in self._statistics.items():
                self.model.get_buffer(name).copy_(values)
        cause = cause_of(self.step, seeds, self.graph, self.dataset, self.sources)
        self.optimizer.zero_grad(set_to_none=True)
        self._cause = cause
        self.state.skipped += 1
        self.state.in_a_row += 1
        where = f"epoch {self.state.epoch + 1}, batch {shares[-1][0] + 1}"
        if self.state.in_a_row >= SKIPPED_IN_A_ROW:
            raise RunError(
                f"training stopped in {where}: {self.state.in_a_row} steps in a row were not finite; {cause}; {_REMEDY}"
            )
        if self.state.skipped == 1 or self.state.in_a_row == 1:
            warnings.warn(f"a step is skipped in {where}, since it is not finite: {cause}", stacklevel=2)

    # --- the loop

    def run(self, folder: Path, log: Callable[[Mapping[str, Any]], None] | None = None) -> bool:
        """Train to the end, or to an interruption.

        Args:
            folder: The run folder.
            log: Is handed each line of ``metrics.jsonl`` once it is written.

        Returns:
            Whether the training is complete; False after one of the signals `STOPPING`, with the state saved.

        Raises:
            RunError: Step after step is not finite.
        """
        batches = self.batches(self.rows["train"], shuffle=True)
        bar = tqdm(
            total=self.config.epochs * len(batches),
            initial=self.state.epoch * len(batches) + self.state.batch,
            disable=None if self.show else True,  # None: where no terminal shows it
            unit="batch",
        )
        with self._own_randomness(), _deterministic(self.config.deterministic), self._interruptible(), bar:
            while self.state.epoch < self.config.epochs and not self.state.done:
                bar.set_description(f"epoch {self.state.epoch + 1}/{self.config.epochs}")
                record = self._epoch(batches, bar)
                if self._stop:
                    self.save(folder)
                    self.processes.barrier()  # until it is written, as the end of one process may end the others
                    return False
                self._finish_epoch(folder, record)
                if log is not None:
                    log(record)
                figures = {"loss": f"{record['loss']:.3f}", **_shown(record.get("val", {}))}
                bar.set_postfix(figures)
                if self.show and bar.disable:
                    told = ", ".join(f"{name} {value}" for name, value in figures.items())
                    line = f"epoch {record['epoch']}/{self.config.epochs}: {told}, {record['seconds']:.1f} s"
                    print(line, file=sys.stderr, flush=True)
            self.state.done = True
            self.save(folder)
        return True

    def _epoch(self, batches: Batches, bar: tqdm[Any]) -> dict[str, Any]:
        training_mode(self.model, self.config)
        start, began = self.state.batch, time.perf_counter()
        sums, pending = dict[str, Tensor](), dict[str, Tensor]()
        shares: list[tuple[int, BatchShard]] = []
        losses: float | Tensor = 0.0
        order = None if self.hard is None else self._hard_order(self.hard)
        failures: list[tuple[str, str, str]] = []
        for number, share in enumerate(batches.shares(self.state.epoch, start, order), start):
            failures += [failure for chunk in share.chunks for failure in chunk.failures]
            remaining = (
                len(batches) - number // self.config.accumulate_grad_batches * self.config.accumulate_grad_batches
            )
            output = self.learn(share, number, 1 / min(self.config.accumulate_grad_batches, remaining))
            _add(pending, {"loss": output.total, **{"-".join(pair): v for pair, v in output.per_pair.items()}})
            losses = losses + output.total
            shares.append((number, share))
            if (number + 1) % self.config.accumulate_grad_batches == 0 or number + 1 == len(batches):
                self._set_rates(len(batches))
                norm = self._gradient()
                if self.processes.any(not bool(torch.isfinite(norm + losses))):
                    self._skip(shares)
                else:
                    self._step()
                    # the norm is the same in every process
                    _add(sums, {**pending, "grad_norm": _whole(norm / self.processes.size)}, whole=True)
                    self.state.counted += len(shares)
                pending, shares, losses = {}, [], 0.0
                self.state.batch = number + 1
                self._stop = self.processes.any(self.signal != 0)
                if self._stop:
                    break
            bar.update()
        if sums:
            values = self.processes.sum(torch.stack([*sums.values()])).tolist()
            for name, value in zip(sums, values, strict=True):
                self.state.sums[name] = self.state.sums.get(name, 0) + value
        for failure in self.processes.all_gather(failures):
            if failure not in self._absent:
                self._absent.add(failure)
                self.state.absent.append(list(failure))
        seconds = time.perf_counter() - began
        counted = max(1, self.state.counted)
        totals = {name: value * UNIT for name, value in self.state.sums.items()} or {"loss": math.nan, "grad_norm": 0.0}
        steps = math.ceil(counted / self.config.accumulate_grad_batches)
        return {
            "epoch": self.state.epoch + 1,
            "step": self.state.step,
            "loss": totals["loss"] / counted,
            "pairs": {k: v / counted for k, v in totals.items() if k not in ("loss", "grad_norm")},
            "grad_norm": totals["grad_norm"] / steps,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
            "tau": self.model.temperatures(),
            "absent": len(self.state.absent),
            **({"skipped": self.state.skipped} if self.state.skipped else {}),
            "seconds": round(seconds, 3),
            "molecules_per_second": round(len(self.rows["train"]) * (1 - start / len(batches)) / seconds, 1),
        }

    def _hard_order(self, hard: HardNegatives) -> NDArray[np.int64]:
        """Return the molecules of the current epoch; one that was interrupted continues in the order it began."""
        if self.state.batch == 0:
            hard.begin(np.random.default_rng(random_state(self.graph.seed, self.state.epoch, "order")))
            # different devices may round similarities differently
            hard.order = self.processes.broadcast(hard.order)
        return hard.order

    def _finish_epoch(self, folder: Path, record: dict[str, Any]) -> None:
        if not math.isfinite(record["loss"]):
            raise RunError(f"training stopped: no step of epoch {record['epoch']} was finite; {self._cause}; {_REMEDY}")
        state, config = self.state, self.config
        state.epoch, state.batch, state.counted, state.sums = state.epoch + 1, 0, 0, {}
        last = state.epoch == config.epochs
        state.lines += 1
        if self.processes.rank == 0:
            if len(self.rows["val"]) and (state.epoch % config.stopping.every == 0 or last):
                record["val"] = self.validate()
                self._judge(folder, record["val"][config.stopping.metric])
            elif last and state.best is None:
                self.write_best(folder)
            self._record(folder / "metrics.jsonl", record)
            self.save(folder)
        self.state = self.processes.broadcast(state)

    def _judge(self, folder: Path, figure: float) -> None:
        state, stopping, schedule = self.state, self.config.stopping, self.config.schedule
        score = -figure if stopping.metric == "loss" else figure
        if not math.isfinite(figure):
            warnings.warn(f"validation figure {stopping.metric!r} of epoch {state.epoch} is {figure}", stacklevel=2)
        elif state.best is None or score > state.best:
            state.best, state.best_epoch, state.since_best, state.since_cut = score, state.epoch, 0, 0
            self.write_best(folder)
            return
        state.since_best += 1
        state.since_cut += 1
        if schedule.use == "plateau" and state.since_cut > schedule.patience:
            state.plateau *= schedule.factor
            state.since_cut = 0
        if stopping.patience is not None and state.since_best >= stopping.patience:
            state.done = True

    # --- validation

    @property
    def best_model(self) -> Model:
        """The model that is validated and saved: the moving average where there is one."""
        return self.model if self.ema is None else self.ema.module  # type: ignore[return-value]

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the validation loss and the mean reciprocal rank of blind queries with all spectra a molecule has."""
        model = self.best_model.eval()
        queries = self.rows["val"]
        unit, total, weight = {name: [] for name in self.graph.modalities}, 0.0, 0  # type: dict[str, list[Tensor]], float, int
        present: dict[str, list[Tensor]] = {name: [] for name in self.graph.modalities}
        for batch in self.batches(queries, shuffle=False).epoch():
            moved = to_device(batch, self.device)
            with autocast(self.config.precision, self.device):
                embeddings = model(moved)
            total += float(model.compute_loss(embeddings, moved).total) * len(batch.molecule)
            weight += len(batch.molecule)
            for name in unit:
                unit[name].append(embeddings.unit[name])
                present[name].append(embeddings.present[name])
        out = {"loss": total / weight}
        vectors = {name: torch.cat(v) for name, v in unit.items()}
        masks = {name: torch.cat(v) for name, v in present.items()}
        out["blind_mrr"] = self._blind_mrr(model, vectors, masks, queries)
        return out

    def _blind_mrr(
        self, model: Model, vectors: dict[str, Tensor], masks: dict[str, Tensor], queries: NDArray[np.int64]
    ) -> float:
        candidate = self.graph.candidate
        pool = vectors.pop(candidate)
        there = masks.pop(candidate)
        truth = torch.arange(len(queries), device=pool.device)
        if self.config.stopping.pool == "all":
            others = np.setdiff1d(np.flatnonzero(self.present[candidate]), queries)
            pool = torch.cat([pool, self.embed_candidates(model, others)])
        asked = there & torch.stack(list(masks.values())).any(dim=0)
        pool = torch.where(
            torch.cat([there, there.new_ones(len(pool) - len(there))])[:, None], pool, pool.new_tensor(math.nan)
        )
        return blind_mrr(
            {name: v[asked] for name, v in vectors.items()},
            {name: m[asked] for name, m in masks.items()},
            pool,
            truth[asked],
            model.temperatures(),
        )

    def embed_candidates(self, model: Model, rows: NDArray[np.int64]) -> Tensor:
        """Return the unit candidate embeddings of molecules, NaN where missing, (rows, d)."""
        name = self.graph.candidate
        alone = Batches(
            {name: self.sources[name]},
            Collate({name: self.modalities[name]}, self._collate.scalar_features),
            rows,
            batch_size=self.config.batch_size,
            seed=self.graph.seed,
            shuffle=False,
        )
        out = []
        for batch in alone.epoch():
            with autocast(self.config.precision, self.device):
                embeddings = model(to_device(batch, self.device))
            there = embeddings.present[name][:, None]
            out.append(torch.where(there, embeddings.unit[name], embeddings.unit[name].new_tensor(math.nan)))
        return torch.cat(out) if out else torch.zeros(0, self.graph.embedding_dim, device=self.device)

    # --- saving

    def write_best(self, folder: Path) -> None:
        """Write the weights that a user of the run will load."""
        write_weights(folder / "model.safetensors", self.best_model.state_dict())

    def save(self, folder: Path) -> None:
        """Write all that an exact resume needs, as one file; all randomness follows from seed, epoch and batch.

        Of several processes the first one writes, as all hold the same.
        """
        if self.processes.rank > 0:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.ema is not None:
            tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
        if self.hard is not None:
            tensors |= {f"hard.{k}": v for k, v in self.hard.state().items()}
        (folder / "checkpoints").mkdir(exist_ok=True)
        last = folder / "checkpoints" / LAST
        keep_previous(last, PREVIOUS)
        progress = {"progress": json.dumps(vars(self.state)), "format": str(CHECKPOINT_FORMAT)}
        write_weights(last, tensors, progress)

    def restore(self, folder: Path) -> None:
        """Take up a training where it was saved; where that checkpoint is damaged, at the one before.

        Raises:
            RunError: The run has no good checkpoint, or it does not fit.
        """
        tensors, metadata = _checkpoint(folder / "checkpoints")

        def below(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        load_into(self.model, below("model."), f"checkpoint of {str(folder)!r}")
        if self.ema is not None:
            load_into(self.ema, below("ema."), f"checkpoint of {str(folder)!r}")
        if self.hard is not None:
            self.hard.restore(below("hard."))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in below("optimizer.").items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict({"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]})
        progress = json.loads(metadata["progress"])
        self.state = Progress(**progress)
        # molchord 0.1 saved sums as such
        sums = self.state.sums.items()
        self.state.sums = {name: round(v / UNIT) if isinstance(v, float) else v for name, v in sums}
        self.state.counted = progress.get("counted", self.state.batch)
        self._absent = {(name, id, reason) for name, id, reason in self.state.absent}

    def _record(self, path: Path, record: Mapping[str, Any]) -> None:
        """Add a line to the history, after those that the checkpoint knows: later ones are written again."""
        if self.state.history is None:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
            self.state.history = sum(map(len, lines[: self.state.lines - 1]))
        there = path.stat().st_size if path.exists() else 0
        if there < self.state.history:
            warnings.warn(f"history {str(path)!r} has lost its end; the training is not touched by it", stacklevel=2)
        self.state.history = append_line(path, json.dumps(record), min(there, self.state.history))

    def start_from(self, weights: Mapping[str, Tensor] | None) -> None:
        """Start from whole weights of a run, then from the parts that `train.init` names."""
        if weights is not None:
            load_into(self.model, weights, "the run to start from")
        initialise(self.model, self.config.init)
        for feature, scaling in taken_scalar_features(self.graph, self.config.init).items():
            column = self.graph.scalar_features.index(feature)
            self.model.scalar_mean[column], self.model.scalar_std[column] = scaling
        if self.ema is not None:
            self.ema.module.load_state_dict(self.model.state_dict())

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Leave torch's global generators as they were."""
        on_gpu = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=on_gpu):
            yield

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let Ctrl-C, or another of the signals `STOPPING`, end the current step first; a second one ends at once."""

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self.signal:
                raise KeyboardInterrupt
            self.signal = number

        previous = {}
        try:
            for one in STOPPING:
                if signal.getsignal(one) is not signal.SIG_IGN:  # as `nohup` wants it
                    previous[one] = signal.signal(one, on_signal)
        except ValueError:  # not in the main thread: no signal arrives there
            yield
            return
        try:
            yield
        finally:
            for one, handler in previous.items():
                signal.signal(one, handler)


def _default_workers(device: torch.device) -> int:
    # On a CPU the model needs the cores more than the loader does: reading and transforming a batch takes milliseconds.
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # processes on this machine
    return max(0, min(8, len(os.sched_getaffinity(0)) // here - 1)) if device.type == "cuda" else 0


def _add(sums: dict[str, Tensor], values: Mapping[str, Tensor], *, whole: bool = False) -> None:
    """Add metrics as whole numbers of `UNIT`, which most are not yet."""
    for name, value in values.items():
        number = value if whole else _whole(value)
        sums[name] = sums[name] + number if name in sums else number


def _whole(value: Tensor) -> Tensor:
    """Return a number as a whole one of `UNIT`; what is not finite becomes 0, as its step is skipped."""
    number = torch.nan_to_num(value.detach().double(), nan=0.0, posinf=0.0, neginf=0.0)
    return (number.clamp(-(2.0**29), 2.0**29) / UNIT).round().long()


def _statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of what layers such as batch normalisation have gathered."""
    if not with_batch_statistics(model):
        return {}
    return {name: values.clone() for name, values in model.named_buffers()}


def _checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the last checkpoint, or where it is damaged the one before."""
    try:
        tensors, metadata = read_weights(folder / LAST)
    except RunError as error:
        if not (folder / PREVIOUS).is_file():
            raise
        tensors, metadata = read_weights(folder / PREVIOUS)
        warnings.warn(f"{error}; the training goes on from the checkpoint before it", stacklevel=3)
    stated = {"format": int(metadata.get("format", CHECKPOINT_FORMAT))}
    newer_version("checkpoint", folder, stated, "format", CHECKPOINT_FORMAT, RunError)
    return tensors, metadata


def _shown(figures: Mapping[str, float]) -> dict[str, str]:
    return {f"val {name}": f"{value:.3f}" for name, value in figures.items()}


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
