"""The encoders of molvis against torch-geometric's class and against fp64 restatements of what was published."""

import math

import torch
from torch import nn
from torch.nn import functional

from molchord.api import (
    Category,
    GraphBatch,
    GraphSpec,
    PeaksBatch,
    PeaksSpec,
    Real,
    SpectrumBatch,
    SpectrumSpec,
)
from molchord_encoders.attentivefp_network import AttentiveFp
from molchord_encoders.clerms_network import Clerms
from molchord_encoders.vit1d_network import Vit1d
from molchord_encoders.xception1d_network import Xception1d


def random_(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_attentivefp_is_torch_geometrics_on_summed_one_hot_features():
    from torch_geometric.nn.models import AttentiveFP

    torch.manual_seed(1)
    ring, order = Category(("no", "yes")), Category(("1", "2"))
    encoder = AttentiveFp(
        GraphSpec(atom={"ring": ring}, bond={"order": order}), width=5, hidden=8, layers=3, timesteps=2
    ).double()
    theirs = AttentiveFP(119 + 3, 8, 5, edge_dim=1 + 3, num_layers=3, num_timesteps=2).double()
    with torch.no_grad():  # its first layers read one-hot features: ours, with the embeddings multiplied in
        atoms = torch.cat([encoder.element.weight, encoder.atom.parts[0].table.weight])
        bonds = torch.cat([encoder.any_bond[None], encoder.bond.parts[0].table.weight])
        state = encoder.network.state_dict()
        state["lin1.weight"] = state["lin1.weight"] @ atoms.T
        gate = state["gate_conv.lin1.weight"]
        state["gate_conv.lin1.weight"] = torch.cat([gate[:, :8], gate[:, 8:] @ bonds.T], dim=1)
    theirs.load_state_dict(state)
    elements, graph = torch.tensor([6, 8, 7, 6]), torch.tensor([0, 0, 0, 1])
    edges = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    rings, orders = torch.tensor([0, 1, 2, 2]), torch.tensor([2, 2, 1, 1])
    batch = GraphBatch(
        size=2, elements=elements, graph=graph, bonds=edges, atom={"ring": rings}, bond={"order": orders}
    )
    one_hot = torch.cat([functional.one_hot(elements, 119), functional.one_hot(rings, 3)], dim=1).double()
    attributes = torch.cat([torch.ones(4, 1), functional.one_hot(orders, 3)], dim=1).double()
    torch.testing.assert_close(encoder(batch), theirs(one_hot, edges, attributes, graph), rtol=1e-10, atol=1e-12)


def separable(curves, part):
    """Each channel by itself, then a sum over channels at each position, then running statistics."""
    apart = torch.stack(
        [
            functional.conv1d(curves[:, c : c + 1], part.depthwise.weight[c : c + 1], padding=1)[:, 0]
            for c in range(curves.shape[1])
        ],
        dim=1,
    )
    return normed(torch.einsum("oc,bcp->bop", part.pointwise.weight[:, :, 0], apart), part.norm)


def normed(curves, norm):
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (curves - norm.running_mean[:, None]) * scale[:, None] + norm.bias[:, None]


def halved(curves, block, *, activated):
    body = [part for part in block.body if hasattr(part, "depthwise")]
    made = separable(separable(curves.relu() if activated else curves, body[0]).relu(), body[1])
    padded = functional.pad(made, (1, 1), value=-math.inf)
    count = (curves.shape[2] + 1) // 2
    largest = torch.stack([padded[:, :, 2 * i : 2 * i + 3].amax(dim=2) for i in range(count)], dim=2)
    conv, norm = block.skip
    return largest + normed(torch.einsum("oc,bcp->bop", conv.weight[:, :, 0], curves[:, :, ::2]), norm)


def test_xception1d_is_chollets_figure_5_in_one_dimension():
    torch.manual_seed(2)
    spec = SpectrumSpec(unit="cm^-1", points=37, channels=2, whole={})
    encoder = Xception1d(spec, width=5, stem=(4, 6), entry=(6, 8), middle=2, exit=(8, 10, 12)).double()
    values, observed = random_((6, 2, 37)), random_((6, 37), 1) > -1.5
    encoder(SpectrumBatch(values=values, observed=observed))  # running statistics of a batch
    encoder.eval()
    with torch.no_grad():
        curves = torch.cat([values * observed[:, None], observed[:, None].double()], dim=1)
        first, norm1, _, second, norm2, _ = encoder.stem
        curves = normed(functional.conv1d(curves, first.weight, stride=2, padding=1), norm1).relu()
        curves = normed(functional.conv1d(curves, second.weight, padding=1), norm2).relu()
        for number, block in enumerate(encoder.entry):
            curves = halved(curves, block, activated=number > 0)
        for block in encoder.middle:
            inner = curves
            for part in block.body[1::2]:
                inner = separable(inner.relu(), part)
            curves = curves + inner
        last, third, _, fourth, _ = encoder.exit
        curves = separable(separable(halved(curves, last, activated=True), third).relu(), fourth).relu()
        expected = curves.mean(dim=2) @ encoder.out.weight.T + encoder.out.bias
        found = encoder(SpectrumBatch(values=values, observed=observed))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def linear(into, weight, bias):
    with torch.no_grad():
        into.weight.copy_(weight)
        into.bias.copy_(bias)


def attended(into, weight, bias, out):
    with torch.no_grad():
        into.in_proj_weight.copy_(weight)
        into.in_proj_bias.copy_(bias)
    linear(into.out_proj, out.weight, out.bias)


def torch_encoder(ours, heads):
    """Torch's own layers, normalised first, with the weights of `SetAttention`."""
    layers = []
    for layer in ours.layers:
        size, feedforward = layer.attention_out.in_features, layer.feedforward[1].out_features
        theirs = nn.TransformerEncoderLayer(
            size, heads, feedforward, 0.0, functional.gelu, batch_first=True, norm_first=True
        )
        attended(theirs.self_attn, layer.query_key_value.weight, layer.query_key_value.bias, layer.attention_out)
        for norm, source in ((theirs.norm1, layer.attention_norm), (theirs.norm2, layer.feedforward[0])):
            norm.load_state_dict(source.state_dict())
        theirs.linear1.load_state_dict(layer.feedforward[1].state_dict())
        theirs.linear2.load_state_dict(layer.feedforward[3].state_dict())
        layers.append(theirs.double().eval())
    return layers


def test_vit1d_is_the_published_transformer_over_patches():
    torch.manual_seed(3)
    spec = SpectrumSpec(unit="cm^-1", points=23, channels=1)
    encoder = Vit1d(spec, width=5, patch=5, hidden=8, layers=2, heads=2, feedforward=16).double().eval()
    values, observed = random_((4, 1, 23)), random_((4, 23), 1) > -1
    with torch.no_grad():
        curves = torch.cat([values * observed[:, None], observed[:, None].double()], dim=1)
        curves = functional.pad(curves, (0, 2))
        weight = encoder.patch.weight.flatten(1)  # a convolution over patches is a linear map of each
        patches = torch.stack([curves[:, :, 5 * i : 5 * i + 5].flatten(1) @ weight.T for i in range(5)], dim=1)
        tokens = patches + encoder.patch.bias + encoder.position
        states = torch.cat([encoder.attention.readout.expand(4, 1, -1), tokens], dim=1)
        for layer in torch_encoder(encoder.attention, 2):
            states = layer(states)
        expected = encoder.out(encoder.attention.norm(states)[:, 0])
        found = encoder(SpectrumBatch(values=values, observed=observed))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_clerms_is_torchs_encoder_and_decoder_over_peaks_and_conditions():
    torch.manual_seed(4)
    whole = {"precursor": Real("m/z"), "energy": Real("eV"), "mode": Category(("positive", "negative"))}
    spec = PeaksSpec(unit="m/z", peak={"mz": Real("m/z"), "intensity": Real("1")}, whole=whole)
    encoder = Clerms(spec, width=5, hidden=8, layers=2, heads=2, feedforward=16, pooled=12).double().eval()
    peak = {"mz": random_((3, 4)).abs() * 100, "intensity": random_((3, 4), 1).abs()}
    mask = torch.tensor([[True, True, True, True], [True, True, False, False], [False] * 4])
    said = {
        "precursor": torch.tensor([200.1, 301.2, math.nan], dtype=torch.float64),
        "energy": torch.tensor([20.0, math.nan, 40.0], dtype=torch.float64),
        "mode": torch.tensor([1, 2, 0]),
    }
    batch = PeaksBatch(peak=peak, mask=mask, whole=said)
    with torch.no_grad():
        mz, intensity = (part(peak[name]) for part, name in zip(encoder.peak.parts, peak, strict=True))
        peaks = encoder.dense(torch.cat([mz, intensity], dim=-1))
        ion = encoder.ion.parts[0](said["precursor"])[:, None]
        states = torch.cat([encoder.encoder.readout.expand(3, 1, -1), ion, peaks], dim=1)
        padding = torch.cat([torch.zeros(3, 2, dtype=torch.bool), ~mask], dim=1)
        for layer in torch_encoder(encoder.encoder, 2):
            states = layer(states, src_key_padding_mask=padding)
        memory = encoder.encoder.norm(states)
        energy, mode = (
            part(said[name]) for part, name in zip(encoder.conditions.parts, ("energy", "mode"), strict=True)
        )
        asked = [encoder.question.expand(3, -1), encoder.networks[0](energy), encoder.networks[1](mode)]
        tokens = torch.stack(asked, dim=1)
        for layer in encoder.decoder:
            tokens = torch_decoder(layer, 2)(tokens, memory, memory_key_padding_mask=padding)
        widened = encoder.widen(encoder.norm(tokens)).max(dim=1).values
        norm, last, _ = encoder.out
        expected = functional.selu(last(normed(widened[:, :, None], norm)[:, :, 0]))
    torch.testing.assert_close(encoder(batch), expected, rtol=1e-9, atol=1e-10)


def torch_decoder(ours, heads):
    """Torch's own layer, normalised first, with the weights of ours."""
    size, feedforward = ours.own_out.in_features, ours.feedforward[1].out_features
    theirs = nn.TransformerDecoderLayer(
        size, heads, feedforward, 0.0, functional.gelu, batch_first=True, norm_first=True
    ).double()
    attended(theirs.self_attn, ours.own.weight, ours.own.bias, ours.own_out)
    packed = torch.cat([ours.query.weight, ours.key_value.weight])
    attended(theirs.multihead_attn, packed, torch.cat([ours.query.bias, ours.key_value.bias]), ours.cross_out)
    norms = (theirs.norm1, ours.own_norm), (theirs.norm2, ours.cross_norm), (theirs.norm3, ours.feedforward[0])
    for norm, source in norms:
        norm.load_state_dict(source.state_dict())
    theirs.linear1.load_state_dict(ours.feedforward[1].state_dict())
    theirs.linear2.load_state_dict(ours.feedforward[3].state_dict())
    return theirs.eval()
