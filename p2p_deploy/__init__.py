"""p2p-deploy: train, export and run pix2pix-family image-to-image networks.

    import p2p_deploy

    with p2p_deploy.load("facades.onnx") as model:
        outputs_NHWC = model(frames_NHWC)  # uint8 in, uint8 out
        summary = p2p_deploy.run(model, "photos", "out", p2p_deploy.RunOptions(ext="jpg"))

Every function takes its options as a frozen dataclass, gives back a report that is one, and raises nothing but the
exceptions listed here. Importing this package loads no runtime: no torch, ONNX Runtime, TensorRT, OpenCV or PyAV.
"""

import lazy_loader

__version__ = "0.1.0"

# What is public stands in the stub beside this file. Each name is imported when it is first asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
