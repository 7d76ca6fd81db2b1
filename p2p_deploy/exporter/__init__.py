"""From a checkpoint to artefacts that were compared with it before they got their names.

    exporter   the whole job                  choose    which precision the network can be exported in
    onnx       the graph                      emulate   half precision on a CPU
    engine     the plan                       verify    the quality gate
    reference  what the checkpoint itself gives

``engine`` needs neither torch nor onnx, so that a plan can be built again where there is only a runtime.
"""
