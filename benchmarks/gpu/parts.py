"""The parts, in order of their worth; what some do not keep of the time is the others'."""

from benchmarks.gpu.runner import Part

_PROOFS, _SPEEDS = "benchmarks.gpu.proofs", "benchmarks.gpu.speeds"
SYSTEMS = ("mnist", "cifar10-basic", "fashion-mnist", "cifar10-vgg", "dogs-vs-cats")

DEVICE, BITS, WAITING, TESTS, STAGED = "device", "equal bits", "waiting", "tests", "staged"
IMAGES, EXPORTED, COMPILED = "images", "exported", "compiled"
LOOPS = {system: f"loops {system}" for system in SYSTEMS}
SIZES, SPEED, REACHING, AIRBENCH, NEIGHBOURS = "sizes", "cifar10-speed", "reaching", "airbench", "neighbours"

PARTS = [
    Part(DEVICE, f"{_SPEEDS}:device", 60, alone=True),
    Part(BITS, f"{_PROOFS}:equal_bits", 150),
    Part(WAITING, f"{_PROOFS}:waiting", 120),
    Part(IMAGES, f"{_SPEEDS}:images", 120),
    Part(TESTS, f"{_PROOFS}:tests", 150),
    Part(STAGED, f"{_PROOFS}:staged", 90),
    Part(EXPORTED, f"{_PROOFS}:exported", 120),
    Part(COMPILED, f"{_PROOFS}:compiled", 150),
    *(Part(name, f"{_SPEEDS}:every_loop", 80, True, system) for system, name in LOOPS.items()),
    Part(SIZES, f"{_SPEEDS}:sizes", 60, alone=True),
    Part(SPEED, f"{_SPEEDS}:speed", 120, alone=True),
    Part(REACHING, f"{_SPEEDS}:reaching", 120, alone=True),
    Part(AIRBENCH, f"{_SPEEDS}:airbench", 120, alone=True),
    Part(NEIGHBOURS, f"{_PROOFS}:neighbours", 90, alone=True),
]
