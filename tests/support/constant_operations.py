"""Operations of opset 1 to 16 built on constants alone, by the name of their factory: for constant branches."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13

OPSETS = range(1, 17)
Make = Callable[[SimpleNamespace], ov.Node]

# No tensor of numbers that is the same in every inference can come from these.
LEFT_OUT = {
    "assign": "writes a state",
    "constant": "is a leaf",
    "parameter": "is an input of the model",
    "result": "is an output of the model",
    "string_tensor_pack": "makes strings",
    "string_tensor_unpack": "reads strings",
}
# Built on constants, but with a body or a state, or of another value in every inference: they count as computed.
BODIES = frozenset({"if_op", "loop", "tensor_iterator"})
COMPUTED = BODIES | {"multinomial", "random_uniform", "read_value"}


def factories() -> dict[str, dict[int, Callable[..., ov.Node]]]:
    """Every factory by its name and by the opsets in which it became another one."""
    found: dict[str, dict[int, Callable[..., ov.Node]]] = {}
    for opset in OPSETS:
        for name, make in vars(importlib.import_module(f"openvino.opset{opset}")).items():
            if not name.startswith("_") and (inspect.isfunction(make) or name in BODIES):
                versions = found.setdefault(name, {})
                if make not in versions.values():
                    versions[opset] = make
    return found


def f(*shape: int, low: float = -1.0, high: float = 1.0) -> ov.Node:
    """A constant of random numbers."""
    return opset13.constant(np.random.default_rng(sum(shape)).uniform(low, high, shape).astype(np.float32))


def i(values: Any, kind: type = np.int64) -> ov.Node:
    """A constant of integers."""
    return opset13.constant(np.asarray(values, kind))


def body() -> tuple[ov.op.Parameter, ov.op.Result]:
    """Parameter and Result of a body that doubles what it reads."""
    parameter = opset13.parameter([2, 3], np.float32)
    return parameter, opset13.result(opset13.multiply(parameter, opset13.constant(np.float32(2))))


def if_op(op: Any) -> ov.Node:
    """If that doubles or keeps."""
    node = op.if_op(opset13.constant(np.array(True)))
    bodies = [body(), body()]
    for place, (parameter, result) in enumerate(bodies):
        (node.set_then_body, node.set_else_body)[place](ov.Model([result], [parameter]))
    node.set_input(f(2, 3).output(0), bodies[0][0], bodies[1][0])
    node.set_output(bodies[0][1], bodies[1][1])
    return node


def loop(op: Any) -> ov.Node:
    """Loop of one round."""
    parameter, result = body()
    going = opset13.result(opset13.constant(np.array(True)))
    node = op.loop(i(1), opset13.constant(np.array(True)))
    node.set_function(ov.Model([going, result], [parameter]))
    node.set_special_body_ports([-1, 0])
    node.set_invariant_input(parameter, f(2, 3).output(0))
    node.get_iter_value(result.output(0), -1)
    return node


def tensor_iterator(op: Any) -> ov.Node:
    """TensorIterator over axis 0."""
    parameter = opset13.parameter([1, 3], np.float32)
    result = opset13.result(opset13.multiply(parameter, opset13.constant(np.float32(2))))
    node = op.tensor_iterator()
    node.set_function(ov.Model([result], [parameter]))
    node.set_sliced_input(parameter, f(2, 3).output(0), 0, 1, 1, -1, 0)
    node.get_concatenated_slices(result.output(0), 0, 1, 1, -1, 0)
    return node


def _recurrent(gates: int, *, bias: int | None = None) -> tuple[ov.Node, ov.Node, ov.Node]:
    return f(gates * 4, 3), f(gates * 4, 4), f((bias or gates) * 4)


def _recurrent_sequence(gates: int) -> tuple[ov.Node, ov.Node, ov.Node]:
    return f(1, gates * 4, 3), f(1, gates * 4, 4), f(1, gates * 4)


_POOL = {"strides": [1, 1], "pads_begin": [0, 0], "pads_end": [0, 0]}
_CONV = {"strides": [1, 1], "pads_begin": [0, 0], "pads_end": [0, 0], "dilations": [1, 1]}
_STATE, _LENGTHS = (2, 4), [5, 3]
_DETECTION = {
    "num_classes": 2,
    "background_label_id": 0,
    "top_k": 4,
    "keep_top_k": [4],
    "nms_threshold": 0.5,
    "code_type": "caffe.PriorBoxParameter.CORNER",
    "variance_encoded_in_target": True,
    "normalized": True,
    "share_location": True,
    "confidence_threshold": 0.0,
}
_PROPOSAL = {
    "base_size": np.uint64(16),
    "pre_nms_topn": np.uint64(8),
    "post_nms_topn": np.uint64(4),
    "nms_thresh": 0.7,
    "feat_stride": np.uint64(16),
    "min_size": np.uint64(1),
    "ratio": np.array([1.0], np.float32),
    "scale": np.array([8.0], np.float32),
}

_LIKE_ABS = (
    "abs absolute acos acosh asin asinh atan atanh ceil ceiling cos cosh erf exp floor hsigmoid hswish is_finite "
    "is_inf is_nan log mish negative relu round sigmoid sign sin sinh softplus softsign sqrt swish tan tanh identity "
    "non_zero shape_of unique"
)
_LIKE_ADD = (
    "add divide equal floor_mod greater greater_equal less less_equal maximum minimum mod multiply not_equal power "
    "subtract squared_difference prelu convert_like convert_promote_types"
)
_LIKE_AND = "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift"
_LIKE_LOGICAL_AND = "logical_and logical_or logical_xor"
_REDUCTIONS = "reduce_l1 reduce_l2 reduce_max reduce_mean reduce_min reduce_prod reduce_sum"
_TRUTHS = "reduce_logical_and reduce_logical_or"


def _truth(*values: bool) -> ov.Node:
    return opset13.constant(np.array(values))


def _make(name: str, arguments: Callable[[], tuple[Any, ...]]) -> Make:
    return lambda op: getattr(op, name)(*arguments())


def _named(names: str, arguments: Callable[[], tuple[Any, ...]]) -> dict[str, Make]:
    return {name: _make(name, arguments) for name in names.split()}


BUILT: dict[str, Make] = {
    **_named(_LIKE_ABS, lambda: (f(2, 3, low=0.1, high=0.9),)),
    **_named(_LIKE_ADD, lambda: (f(2, 3, low=0.1), f(2, 3, low=0.2))),
    **_named(_LIKE_AND, lambda: (i([[1, 2, 3]], np.int32), i([[2, 1, 3]], np.int32))),
    **_named(_LIKE_LOGICAL_AND, lambda: (_truth(True, False), _truth(True, True))),
    **_named(_REDUCTIONS, lambda: (f(2, 3, 4), i([1]))),
    **_named(_TRUTHS, lambda: (_truth(True, False), i([0]))),
    "adaptive_avg_pool": lambda op: op.adaptive_avg_pool(f(1, 2, 6, 6), i([3, 3])),
    "adaptive_max_pool": lambda op: op.adaptive_max_pool(f(1, 2, 6, 6), i([3, 3])),
    "avg_pool": lambda op: op.avg_pool(
        f(1, 2, 6, 6),
        kernel_shape=[2, 2],
        exclude_pad=True,
        **_POOL,
        **({} if op.number < 16 else {"dilations": [1, 1]}),
    ),
    "batch_norm_inference": lambda op: op.batch_norm_inference(f(1, 2, 3, 3), f(2), f(2), f(2), f(2, low=0.5), 1e-5),
    "batch_to_space": lambda op: op.batch_to_space(f(4, 1, 2, 2), i([1, 1, 2, 2]), i([0] * 4), i([0] * 4)),
    "binary_convolution": lambda op: op.binary_convolution(
        f(1, 8, 6, 6),
        opset13.constant(np.ones((8, 8, 3, 3), np.uint8), ov.Type.u1),
        mode="xnor-popcount",
        pad_value=0.0,
        **_CONV,
    ),
    "bitwise_not": lambda op: op.bitwise_not(i([[1, 2, 3]], np.int32)),
    "broadcast": lambda op: op.broadcast(f(1, 3), i([2, 3])),
    "bucketize": lambda op: op.bucketize(f(2, 3), f(3)),
    "clamp": lambda op: op.clamp(f(2, 3), -0.5, 0.5),
    "col2im": lambda op: op.col2im(f(1, 12, 9), i([4, 4]), i([2, 2])),
    "concat": lambda op: op.concat([f(2, 3), f(2, 3)], 0),
    "convert": lambda op: op.convert(f(2, 3), "f16"),
    "convolution": lambda op: op.convolution(f(1, 2, 6, 6), f(3, 2, 3, 3), **_CONV),
    "convolution_backprop_data": lambda op: op.convolution_backprop_data(
        f(1, 2, 6, 6), f(2, 3, 3, 3), [1, 1], pads_begin=[0, 0], pads_end=[0, 0], dilations=[1, 1]
    ),
    "ctc_greedy_decoder": lambda op: op.ctc_greedy_decoder(f(4, 2, 5), opset13.constant(np.ones((4, 2), np.float32))),
    "ctc_greedy_decoder_seq_len": lambda op: op.ctc_greedy_decoder_seq_len(f(2, 4, 5), i([4, 3], np.int32)),
    "ctc_loss": lambda op: op.ctc_loss(
        f(2, 4, 5), i([4, 4], np.int32), i([[1, 2, 0, 0], [2, 1, 0, 0]], np.int32), i([2, 1], np.int32), i(0, np.int32)
    ),
    "cum_sum": lambda op: op.cum_sum(f(2, 3), i(1)),
    "cumsum": lambda op: op.cumsum(f(2, 3), i(1)),
    "deformable_convolution": lambda op: op.deformable_convolution(
        f(1, 2, 6, 6), f(1, 18, 4, 4), f(3, 2, 3, 3), **_CONV
    ),
    "deformable_psroi_pooling": lambda op: op.deformable_psroi_pooling(
        f(1, 8, 8, 8), f(2, 5, low=0.0, high=0.9), 2, 1.0, group_size=2
    ),
    "depth_to_space": lambda op: op.depth_to_space(f(1, 4, 2, 2), "blocks_first", 2),
    "detection_output": lambda op: op.detection_output(f(1, 8), f(1, 4), f(1, 1, 8, low=0.1), _DETECTION),
    "dft": lambda op: op.dft(f(2, 4, 2), i([1])),
    "einsum": lambda op: op.einsum([f(2, 3), f(3, 4)], "ab,bc->ac"),
    "elu": lambda op: op.elu(f(2, 3), 1.0),
    "embedding_bag_offsets": lambda op: op.embedding_bag_offsets(f(5, 3), i([0, 2, 4], np.int32), i([0, 1], np.int32)),
    "embedding_bag_offsets_sum": lambda op: op.embedding_bag_offsets_sum(
        f(5, 3), i([0, 2, 4], np.int32), i([0, 1], np.int32)
    ),
    "embedding_bag_packed": lambda op: op.embedding_bag_packed(f(5, 3), i([[0, 2], [1, 4]], np.int32)),
    "embedding_bag_packed_sum": lambda op: op.embedding_bag_packed_sum(f(5, 3), i([[0, 2], [1, 4]], np.int32)),
    "embedding_segments_sum": lambda op: op.embedding_segments_sum(
        f(5, 3), i([0, 2, 4], np.int32), i([0, 0, 1], np.int32), i(2, np.int32)
    ),
    "extract_image_patches": lambda op: op.extract_image_patches(f(1, 2, 6, 6), [2, 2], [2, 2], [1, 1], "valid"),
    "eye": lambda op: op.eye(i(3), i(3), i(0), "f32"),
    "fake_convert": lambda op: op.fake_convert(f(2, 3), opset13.constant(np.float32(1))),
    "fake_quantize": lambda op: op.fake_quantize(
        f(2, 3), *(opset13.constant(np.float32(each)) for each in (-1, 1, -1, 1)), 255
    ),
    "gather": lambda op: op.gather(f(4, 3), i([0, 2]), i(0)),
    "gather_elements": lambda op: op.gather_elements(f(2, 3), i([[0, 1, 0]]), 0),
    "gather_nd": lambda op: op.gather_nd(f(2, 3), i([[0, 1], [1, 2]])),
    "gather_tree": lambda op: op.gather_tree(
        i([[[1, 2]], [[3, 4]]], np.int32), i([[[0, 0]], [[0, 1]]], np.int32), i([2], np.int32), i(9, np.int32)
    ),
    "gelu": lambda op: op.gelu(f(2, 3)) if op.number < 7 else op.gelu(f(2, 3), "erf"),  # the mode came later
    "generate_proposals": lambda op: op.generate_proposals(
        opset13.constant(np.array([[32, 32, 1]], np.float32)),
        f(4, 4, 2, 4, low=0.0, high=8.0),
        f(1, 8, 4, 4),
        f(1, 2, 4, 4, low=0.0),
        0.0,
        0.7,
        8,
        4,
    ),
    "grid_sample": lambda op: op.grid_sample(f(1, 2, 4, 4), f(1, 3, 3, 2), {}),
    "grn": lambda op: op.grn(f(1, 2, 3, 3), 1e-5),
    "group_convolution": lambda op: op.group_convolution(f(1, 4, 6, 6), f(2, 2, 2, 3, 3), **_CONV),
    "group_convolution_backprop_data": lambda op: op.group_convolution_backprop_data(
        f(1, 4, 6, 6), f(2, 2, 2, 3, 3), [1, 1], pads_begin=[0, 0], pads_end=[0, 0], dilations=[1, 1]
    ),
    "group_normalization": lambda op: op.group_normalization(f(1, 4, 3, 3), f(4), f(4), 2, 1e-5),
    "gru_cell": lambda op: op.gru_cell(f(2, 3), f(*_STATE), *_recurrent(3), 4),
    "gru_sequence": lambda op: op.gru_sequence(
        f(2, 5, 3), f(2, 1, 4), i(_LENGTHS), *_recurrent_sequence(3), 4, "forward"
    ),
    "hard_sigmoid": lambda op: op.hard_sigmoid(
        f(2, 3), opset13.constant(np.float32(0.2)), opset13.constant(np.float32(0.5))
    ),
    "i420_to_bgr": lambda op: op.i420_to_bgr(f(1, 6, 4, 1, low=0.0, high=255.0)),
    "i420_to_rgb": lambda op: op.i420_to_rgb(f(1, 6, 4, 1, low=0.0, high=255.0)),
    "idft": lambda op: op.idft(f(2, 4, 2), i([1])),
    "if_op": if_op,
    "interpolate": lambda op: (
        op.interpolate(f(1, 2, 4, 4), i([8, 8]), {"mode": "linear", "axes": [2, 3]})
        if op.number < 4
        else op.interpolate(f(1, 2, 4, 4), i([8, 8]), "nearest", "sizes", axes=i([2, 3]))
        if op.number >= 11
        else op.interpolate(
            f(1, 2, 4, 4), i([8, 8]), opset13.constant(np.array([2, 2], np.float32)), "nearest", "sizes", axes=i([2, 3])
        )
    ),
    "inverse": lambda op: op.inverse(opset13.constant(np.array([[2, 1], [1, 3]], np.float32))),
    "irdft": lambda op: op.irdft(f(2, 3, 2), i([1])),
    "istft": lambda op: op.istft(f(5, 4, 2), f(8), i(8), i(4), False, False),
    "log_softmax": lambda op: op.log_softmax(f(2, 3), 1),
    "logical_not": lambda op: op.logical_not(_truth(True, False)),
    "loop": loop,
    "lrn": lambda op: op.lrn(f(1, 2, 3, 3), i([1])),
    "lstm_cell": lambda op: op.lstm_cell(f(2, 3), f(*_STATE), f(*_STATE), *_recurrent(4), 4),
    "lstm_sequence": lambda op: op.lstm_sequence(
        f(2, 5, 3), f(2, 1, 4), f(2, 1, 4), i(_LENGTHS), *_recurrent_sequence(4), 4, "forward"
    ),
    "matmul": lambda op: op.matmul(f(2, 3), f(3, 4), False, False),
    "matrix_nms": lambda op: op.matrix_nms(f(1, 4, 4, low=0.0), f(1, 2, 4, low=0.0)),
    "max_pool": lambda op: (
        op.max_pool(f(1, 2, 6, 6), kernel_shape=[2, 2], **_POOL)
        if op.number < 8
        else op.max_pool(f(1, 2, 6, 6), kernel_shape=[2, 2], dilations=[1, 1], **_POOL)
    ),
    "multiclass_nms": lambda op: op.multiclass_nms(f(1, 4, 4, low=0.0), f(1, 2, 4, low=0.0)),
    "multinomial": lambda op: op.multinomial(f(1, 4, low=0.1), i([3]), "i64", True, False),
    "mvn": lambda op: (
        op.mvn(f(1, 2, 3, 3)) if op.number < 6 else op.mvn(f(1, 2, 3, 3), i([2, 3]), True, 1e-5, "inside_sqrt")
    ),
    "nms_rotated": lambda op: op.nms_rotated(
        f(1, 4, 5, low=0.1),
        f(1, 2, 4, low=0.1),
        i(3),
        opset13.constant(np.float32(0.5)),
        opset13.constant(np.float32(0)),
    ),
    "non_max_suppression": lambda op: op.non_max_suppression(
        f(1, 4, 4, low=0.0),
        f(1, 2, 4, low=0.1),
        i(3),
        opset13.constant(np.float32(0.5)),
        opset13.constant(np.float32(0)),
    ),
    "normalize_l2": lambda op: op.normalize_l2(f(2, 3), i([1]), 1e-5, "add"),
    "nv12_to_bgr": lambda op: op.nv12_to_bgr(f(1, 6, 4, 1, low=0.0, high=255.0)),
    "nv12_to_rgb": lambda op: op.nv12_to_rgb(f(1, 6, 4, 1, low=0.0, high=255.0)),
    "one_hot": lambda op: op.one_hot(
        i([0, 2]), i(3), opset13.constant(np.float32(1)), opset13.constant(np.float32(0)), -1
    ),
    "pad": lambda op: op.pad(f(2, 3), i([0, 1]), i([1, 0]), "constant"),
    "prior_box": lambda op: op.prior_box(
        i([2, 2]), i([32, 32]), {"min_size": np.array([8.0], np.float32), "offset": 0.5}
    ),
    "prior_box_clustered": lambda op: op.prior_box_clustered(
        i([2, 2]),
        i([32, 32]),
        {"width": np.array([8.0], np.float32), "height": np.array([8.0], np.float32), "offset": 0.5},
    ),
    "proposal": lambda op: op.proposal(
        f(1, 2, 4, 4, low=0.0), f(1, 4, 4, 4), opset13.constant(np.array([64, 64, 1], np.float32)), _PROPOSAL
    ),
    "psroi_pooling": lambda op: op.psroi_pooling(f(1, 8, 8, 8), f(2, 5, low=0.0, high=0.9), 2, 2, 1.0, 1, 1, "average"),
    "random_uniform": lambda op: op.random_uniform(
        i([2, 3]), opset13.constant(np.float32(0)), opset13.constant(np.float32(1)), "f32"
    ),
    "range": lambda op: op.range(i(0), i(6), i(2)) if op.number < 4 else op.range(i(0), i(6), i(2), "f32"),
    "rdft": lambda op: op.rdft(f(2, 4), i([1])),
    "read_value": lambda op: op.read_value(f(2, 3), "state", *(() if op.number < 6 else (np.float32, [2, 3]))),
    "region_yolo": lambda op: op.region_yolo(f(1, 14, 4, 4), 4, 2, 2, True, [0, 1], 1, 3, [1.0, 2.0, 3.0, 4.0]),
    "reorg_yolo": lambda op: op.reorg_yolo(f(1, 4, 4, 4), [2]),
    "reshape": lambda op: op.reshape(f(2, 3), i([3, 2]), False),
    "reverse_sequence": lambda op: op.reverse_sequence(f(2, 3), i([3, 2]), 0, 1),
    "rnn_cell": lambda op: op.rnn_cell(f(2, 3), f(*_STATE), *_recurrent(1), 4, ["tanh"], [], []),
    "rnn_sequence": lambda op: op.rnn_sequence(
        f(2, 5, 3), f(2, 1, 4), i(_LENGTHS), *_recurrent_sequence(1), 4, "forward"
    ),
    "roi_align": lambda op: op.roi_align(
        f(1, 2, 8, 8), f(2, 4, low=0.0, high=7.0), i([0, 0], np.int32), 2, 2, 2, 1.0, "avg"
    ),
    "roi_align_rotated": lambda op: op.roi_align_rotated(
        f(1, 2, 8, 8), f(2, 5, low=1.0, high=5.0), i([0, 0], np.int32), 2, 2, 2, 1.0, True
    ),
    "roi_pooling": lambda op: op.roi_pooling(f(1, 2, 8, 8), f(2, 5, low=0.0, high=0.9), [2, 2], 1.0),
    "roll": lambda op: op.roll(f(2, 3), i([1]), i([1])),
    "scaled_dot_product_attention": lambda op: op.scaled_dot_product_attention(
        f(1, 2, 4, 8), f(1, 2, 4, 8), f(1, 2, 4, 8)
    ),
    "scatter_elements_update": lambda op: op.scatter_elements_update(f(2, 3), i([[0, 1, 0]]), f(1, 3), i(0)),
    "scatter_nd_update": lambda op: op.scatter_nd_update(f(4, 3), i([[0], [2]]), f(2, 3)),
    "scatter_update": lambda op: op.scatter_update(f(4, 3), i([0, 2]), f(2, 3), i(0)),
    "search_sorted": lambda op: op.search_sorted(
        opset13.constant(np.array([1, 2, 3], np.float32)), f(4, low=0.0, high=4.0)
    ),
    "segment_max": lambda op: op.segment_max(f(3, 2), i([0, 0, 1]), fill_mode="ZERO"),
    "select": lambda op: op.select(_truth(True, False, True), f(2, 3), f(3)),
    "selu": lambda op: op.selu(f(2, 3), opset13.constant(np.float32(1.6)), opset13.constant(np.float32(1.05))),
    "shuffle_channels": lambda op: op.shuffle_channels(f(1, 4, 2, 2), 1, 2),
    "slice": lambda op: op.slice(f(4, 3), i([1]), i([3]), i([1]), i([0])),
    "slice_scatter": lambda op: op.slice_scatter(f(4, 3), f(2, 3), i([1]), i([3]), i([1]), i([0])),
    "softmax": lambda op: op.softmax(f(2, 3), 1),
    "space_to_batch": lambda op: op.space_to_batch(f(1, 1, 4, 4), i([1, 1, 2, 2]), i([0] * 4), i([0] * 4)),
    "space_to_depth": lambda op: op.space_to_depth(f(1, 1, 4, 4), "blocks_first", 2),
    "sparse_fill_empty_rows": lambda op: op.sparse_fill_empty_rows(
        f(2), i([3, 2]), i([[0, 0], [2, 1]]), opset13.constant(np.float32(0))
    ),
    "split": lambda op: op.split(f(4, 3), i(0), 2),
    "squeeze": lambda op: op.squeeze(f(1, 3), i([0])),
    "stft": lambda op: op.stft(f(1, 32), f(8), i(8), i(4), True),
    "strided_slice": lambda op: op.strided_slice(f(4, 3), i([1, 0]), i([3, 3]), i([1, 1]), [0, 0], [0, 0]),
    "tensor_iterator": tensor_iterator,
    "tile": lambda op: op.tile(f(2, 3), i([1, 2])),
    "topk": lambda op: op.topk(f(2, 3), i(2), 1, "max", "value"),
    "transpose": lambda op: op.transpose(f(2, 3), i([1, 0])),
    "unsqueeze": lambda op: op.unsqueeze(f(2, 3), i([0])),
    "variadic_split": lambda op: op.variadic_split(f(4, 3), i(0), i([1, 3])),
}


def built() -> Iterator[tuple[str, int, Callable[[], ov.Node]]]:
    """Name and opset of every operation that can be built on constants, and what builds it."""
    for name, versions in factories().items():
        for opset in versions if name in BUILT else ():
            module = importlib.import_module(f"openvino.opset{opset}")
            yield name, opset, partial(BUILT[name], SimpleNamespace(number=opset, **vars(module)))
