"""The parts, in order of their worth: first those that run beside each other, then those that take times."""

from benchmarks.gpu.runner import Part

_SPEEDS, _WHOLE = "benchmarks.gpu.speeds", "benchmarks.gpu.whole_trainings"
_TRAINING, _MODELS = "benchmarks.gpu.proofs_of_training", "benchmarks.gpu.proofs_of_models"
SYSTEMS = ("mnist", "cifar10-basic", "fashion-mnist", "cifar10-vgg", "dogs-vs-cats")

DEVICE, SIZES, SPEED, REACHING, AIRBENCH = "device", "sizes", "cifar10-speed", "reaching", "airbench"
LOOPS = {system: f"loops {system}" for system in SYSTEMS}

PARTS = [
    Part(DEVICE, f"{_SPEEDS}:device", 60, alone=True),
    Part("equal bits", f"{_TRAINING}:equal_bits", 150),
    Part("waiting", f"{_TRAINING}:waiting", 120),
    Part("images", f"{_SPEEDS}:images", 120),
    Part("staged", f"{_MODELS}:staged", 90),
    Part("compiled gradients", f"{_TRAINING}:compiled_gradients", 120),
    Part("compiled bits", f"{_TRAINING}:compiled_bits", 120),
    Part("tests", f"{_MODELS}:tests", 120),
    Part("exported", f"{_MODELS}:exported", 120),
    *(Part(f"compiling {system}", f"{_WHOLE}:compiling", 90, argument=system) for system in SYSTEMS),
    *(Part(name, f"{_SPEEDS}:every_loop", 80, True, system) for system, name in LOOPS.items()),
    Part(SIZES, f"{_SPEEDS}:sizes", 60, alone=True),
    Part("neighbours", f"{_MODELS}:neighbours", 60, alone=True),
    Part(SPEED, f"{_WHOLE}:speed", 120, alone=True),
    Part(REACHING, f"{_WHOLE}:reaching", 150, alone=True),
    Part(AIRBENCH, f"{_WHOLE}:airbench", 120, alone=True),
]
