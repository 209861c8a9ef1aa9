"""A small file with YuNet's input and twelve outputs, for OpenCV's real decoder. It takes red squares for faces."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}


def write_yunet(path):
    """Writes it; returns ``path``.

    A cell of the finest grid (8 pixels) is a face of 40 x 60 pixels about the cell's centre, and its score is how red
    the cell is: red - green - blue, over 255. The coarser grids see none.
    """
    nodes, weights, outputs = [], [], []
    for stride in STRIDES:
        for kind, channels in CHANNELS.items():
            # Convolutions with the stride of the grid, whatever the size of the image.
            kernel, bias = np.zeros((channels, 3, stride, stride), np.float32), np.zeros(channels, np.float32)
            if stride == 8 and channels == 1:
                kernel[0] = np.array([-1, -1, 1])[:, None, None] / (255 * stride**2)  # blue, green, red
            if stride == 8 and kind == "bbox":
                bias[:] = [0.5, 0.5, *np.log(np.array([40.0, 60.0]) / stride)]
            name = f"{kind}_{stride}"
            shape = np.array([1, -1, channels])
            weights += [
                numpy_helper.from_array(values, f"{what}_{name}")
                for what, values in (("kernel", kernel), ("bias", bias), ("shape", shape))
            ]
            convolution = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
            nodes += [
                helper.make_node("Conv", ["input", f"kernel_{name}", f"bias_{name}"], [f"map_{name}"], **convolution),
                helper.make_node("Transpose", [f"map_{name}"], [f"last_{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"last_{name}", f"shape_{name}"], [name]),
            ]
            cells = (640 // stride) ** 2  # YuNet's files say 640 x 640 and serve other sizes all the same
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, cells, channels]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "yunet", [image], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), path)
    return path
