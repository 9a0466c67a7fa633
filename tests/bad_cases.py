"""Bad inputs that users really make, written by hand, for `tests/bad_inputs.py`."""

from collections.abc import Mapping
from types import MappingProxyType

from bad_harms import (
    array,
    both,
    content,
    cut,
    flipped,
    folder_instead,
    gone,
    key,
    labels_outside,
    linked,
    listening,
    nothing,
    other_network,
    photos,
    renamed_network,
    replaced,
    single_array,
)
from bad_inputs import Case, Harm
from data_samples import class_folders, mnist_files, png, write_files
from forked import CHECKING

from src.core.paths import DATASET, MODEL, PREPARED

DOWNLOAD, SPLIT, TRAIN, EVALUATE, VISUALIZE = CHECKING[1:]
TRAIN_IMAGES, TRAIN_LABELS = PREPARED / "train.images.npy", PREPARED / "train.labels.npy"
TEST_IMAGES = PREPARED / "test.images.npy"
TWO = {"cat": 8, "dog": 8}
NOWHERE = {"MLFLOW_TRACKING_URI": "nonsense"}
SEARCH = {"DVC_STAGE": "tune"}  # DVC has prepared the data, as for its stage


def params(name: str, harm: Harm, told: str, command: str = "src.params", *, user: bool = False) -> Case:
    return Case("params.yaml as a file", name, harm, command, told, user=user)


def source(name: str, harm: Harm, told: str, command: str = DOWNLOAD, *, user: bool = False) -> Case:
    before = (DOWNLOAD,) if command == SPLIT else ()
    return Case("photos and sources", name, harm, command, told, before, user=user)


def prepared(name: str, harm: Harm, told: str, *commands: str) -> list[Case]:
    return [Case("prepared data", name, harm, command, told) for command in commands]


def model(name: str, harm: Harm, command: str, told: str) -> Case:
    return Case("model and weights", name, harm, command, told)


def result(name: str, harm: Harm, command: str, told: str, *, user: bool = False) -> Case:
    return Case("results and folders", name, harm, command, told, user=user)


def choice(name: str, harm: Harm, told: str, command: str = TRAIN) -> Case:
    return Case("settings that do not fit", name, harm, command, told)


def line(command: str, told: str, harm: Harm = nothing, environment: Mapping[str, str] = MappingProxyType({})) -> Case:
    return Case("command lines", command, harm, command, told, environment=environment)


CONFLICT = "<<<<<<< HEAD\nseed: 0\n=======\nseed: 1\n>>>>>>> other\n"
COLUMN = "photos/cat/0.png"

CASES = [
    params("missing", gone("params.yaml"), "params.yaml is missing"),
    params("a folder", folder_instead("params.yaml"), "params.yaml"),
    params("empty", content("params.yaml", ""), "must hold keys"),
    params("a list", content("params.yaml", "- seed\n- data\n"), "must hold keys"),
    params("only a word", content("params.yaml", "digits\n"), "must hold keys"),
    params("not UTF-8", content("params.yaml", "seed: 0 # Schlüssel".encode("latin-1")), "not UTF-8"),
    params("UTF-16, as Notepad saves", content("params.yaml", "seed: 0\n".encode("utf-16")), "not UTF-8"),
    params("indented by tabs", replaced("  epochs:", "\tepochs:"), "line"),
    params("marks of a merge conflict", replaced("seed: 0 ", CONFLICT), "line 6"),
    params("a bracket left open", replaced("{low: 0.0, high: 0.5}", "{low: 0.0, high: 0.5"), "line"),
    params("a quote left open", replaced("name: digits ", "name: 'digits "), "line"),
    params("a colon forgotten", replaced("seed: 0", "seed 0"), "line"),
    params("indented too little", replaced("  batch_size:", " batch_size:"), "line"),
    params("decimal comma", replaced("lr: 4.0e-3", "lr: 4,0e-3"), "train.optimizer.lr"),
    params("yes for true", key(deterministic="yes"), "train.deterministic"),
    params("a GPU for the same bits everywhere", key(device="cuda"), "device must be auto or cpu with deterministic"),
    params("a number of 5,000 digits", replaced("seed: 0", f"seed: {'9' * 5000}"), "params.yaml"),
    params("a number beyond double", replaced("lr: 4.0e-3", "lr: 1.0e999"), "train.optimizer.lr"),
    params("not readable", lambda folder: (folder / "params.yaml").chmod(0), "params.yaml", user=True),
    params("a link to itself", both(gone("params.yaml"), linked("params.yaml", "params.yaml")), "params.yaml"),
    params("two documents", replaced("model:\n", "---\nmodel:\n"), "line"),
    source("a wrong path", photos(class_folders(TWO), source="photso"), "photso does not exist"),
    source("an empty folder", both(photos({}), lambda folder: (folder / "photos").mkdir()), "empty folder"),
    source(
        "an empty class folder",
        both(photos(class_folders(TWO)), lambda folder: (folder / "photos/bird").mkdir()),
        "photos/bird is an empty folder",
    ),
    source("no photos in data/images", key(name="image_folder"), "data/images holds no photos"),
    source("one class only", photos(class_folders({"cat": 9})), "only one class, 'cat'", SPLIT),
    source("two images in a class", photos(class_folders({"cat": 9, "dog": 2})), "class 'dog' gets no", SPLIT),
    source("one image in a class", photos(class_folders({"cat": 9, "dog": 1})), "class 'dog' has 1 image", SPLIT),
    source("text named .jpg", photos(class_folders(TWO) | {"cat/a.jpg": b"a cat"}), "cat/a.jpg", SPLIT),
    source("an empty photo", photos(class_folders(TWO) | {"dog/a.png": b""}), "dog/a.png", SPLIT),
    source("half a photo", photos(class_folders(TWO) | {"dog/a.png": png(99)[:90]}), "dog/a.png", SPLIT),
    source("an odd name", photos(class_folders(TWO) | {"dog/a\n\"'猫.png": b""}), "猫.png", SPLIT),
    source("sizes that differ", photos(class_folders(TWO) | {"dog/a.png": png(99, 7)}), "set data.image_size", SPLIT),
    source("a photo beside the classes", photos(class_folders(TWO) | {"a.png": png(99)}), "a.png", SPLIT),
    source("no class in the names", photos({f"{n}.png": png(n) for n in range(9)}), "no class can be told", SPLIT),
    source("only text", photos({"cat/notes.txt": b"x", "dog/notes.txt": b"y"}), "no images that can be read", SPLIT),
    source("a limit below the classes", photos(class_folders(TWO), limit="1"), "data.limit is 1", SPLIT),
    source("groups that match nothing", photos(class_folders(TWO), groups="'patient_'"), "split.groups", SPLIT),
    source("more validation than test", key(validation_from_test="9", validation="0.0"), "validation_from_test", SPLIT),
    source("a link to itself", both(photos(class_folders(TWO)), linked(f"{COLUMN}x", "0.pngx")), "leads nowhere"),
    source("a broken link", both(photos(class_folders(TWO)), linked(f"{COLUMN}x", "nothing")), "leads nowhere"),
    source("a loop of folders", both(photos(class_folders(TWO)), linked("photos/cat/all", "..")), "photos/cat/all"),
    source("not readable", both(photos(class_folders(TWO)), lambda f: (f / COLUMN).chmod(0)), COLUMN, user=True),
    source("data is read-only", lambda folder: (folder / "data").chmod(0o555), "permission denied", user=True),
    source("data/raw as source", photos(class_folders(TWO), source="data/raw"), "lies in data/raw"),
    source("a file of data/raw", photos({}, source="data/raw/digits.csv.gz") , "lies in data/raw"),
    source("the prepared data", photos({}, source="data/prepared"), "lies in data/prepared"),
    source("the pictures of the last run", photos({}, source="reports/figures"), "lies in reports"),
    source("the repository itself", photos({}, source="."), "must not contain data/raw"),
    source("a file that is no archive", photos({}, source="README.md"), "neither a folder nor an archive"),
    source("another sha256", both(
        photos(class_folders(TWO)), key(sha256="'" + "0" * 64 + "'")), "data.sha256"),
    source("a source for digits", key(source="photos"), "source must be null", "src.params"),
    source("labels outside the classes", both(
        labels_outside, key(name="mnist", source="mnist")), "outside of 0", SPLIT),
    source("half of MNIST", both(
        lambda folder: write_files(folder / "m", dict([*mnist_files(9, 9).items()][:2])),
        key(name="mnist", source="m")), "missing in the source", SPLIT),
    source("another data set's files", both(
        lambda folder: write_files(folder / "m", mnist_files(9, 9)),
        key(name="cifar10", source="m")), "cifar10", SPLIT),
    *prepared("images cut off", cut(TRAIN_IMAGES), "train.images.npy is not a whole array", TRAIN, VISUALIZE),
    *prepared("test images cut off", cut(TEST_IMAGES), "test.images.npy is not a whole array", EVALUATE, VISUALIZE),
    *prepared("labels cut off", cut(TRAIN_LABELS), "train.labels.npy is not a whole array", TRAIN),
    *prepared("an empty file", content(TRAIN_IMAGES, ""), "train.images.npy is not a whole array", TRAIN),
    *prepared("text instead", content(TRAIN_IMAGES, "pixels"), "train.images.npy is not a whole array", TRAIN),
    *prepared("a bit of an image", flipped(TRAIN_IMAGES), "train.images.npy is not the file", TRAIN),
    *prepared("a bit of a test image", flipped(TEST_IMAGES), "test.images.npy is not the file", EVALUATE),
    *prepared("a label changed", array(TRAIN_LABELS, lambda a: a[::-1]), "train.labels.npy is not the file", TRAIN),
    *prepared("labels outside", array(TRAIN_LABELS, lambda a: a + 5), "the label 1", TRAIN),
    *prepared("labels below 0", array(TRAIN_LABELS, lambda a: a - 1), "the label -1", TRAIN),
    *prepared("fewer images", array(TRAIN_IMAGES, lambda a: a[:-1]), "images (N, H, W, C)", TRAIN, VISUALIZE),
    *prepared("images of other size", array(TEST_IMAGES, lambda a: a[:, 1:]), "images (N, H, W, C)", EVALUATE),
    *prepared("more channels", array(TRAIN_IMAGES, lambda a: a.repeat(3, 3)), "images (N, H, W, C)", TRAIN),
    *prepared("floats", array(TRAIN_IMAGES, lambda a: a / 255), "not an array of uint8", TRAIN),
    *prepared("objects", array(TRAIN_LABELS, lambda a: a.astype(object)), "train.labels.npy is not", TRAIN),
    *prepared("dataset.json gone", gone(DATASET), "dataset.json: missing", TRAIN, EVALUATE, VISUALIZE),
    *prepared("dataset.json cut off", cut(DATASET), "dataset.json is damaged", TRAIN, EVALUATE, VISUALIZE),
    *prepared("dataset.json of others", content(DATASET, "{}"), "dataset.json is damaged", TRAIN),
    *prepared("dataset.json a folder", folder_instead(DATASET), "dataset.json", TRAIN),
    *prepared("a class renamed by hand", lambda f: (f / DATASET).write_text(
        (f / DATASET).read_text().replace('"0",', '"O",', 1)), "classes of other names", EVALUATE, VISUALIZE),
    model("cut off", cut(MODEL), "src.predict photo.png", "photo.png is missing"),
    *(model("cut off", cut(MODEL), command, "is not a complete model")
      for command in (EVALUATE, VISUALIZE, "src.export")),
    *(model("of another network", other_network, command, "is not a complete model")
      for command in (EVALUATE, "src.export", "src.predict README.md")),
    model("its spec changed", renamed_network, "src.export", "is not a complete model"),
    model("text", content(MODEL, "weights"), EVALUATE, "is not a complete model"),
    model("empty", content(MODEL, ""), "src.export", "is not a complete model"),
    *(model("gone", gone(MODEL), command, "model.safetensors is missing")
      for command in (EVALUATE, VISUALIZE, "src.export", "src.predict README.md", "src.promote")),
    model("a folder", folder_instead(MODEL), "src.export", "model.safetensors"),
    model("a name that is none", nothing, "src.predict README.md --model models/best.pt", "models/best.pt is missing"),
    model("a data set as model", nothing, "src.export --model params.yaml", "is not a complete model"),
    model("for other images", key(image_size="9"), EVALUATE, "was trained on 8×8×1 images")._replace(
        before=(SPLIT,)),
    model("pretrained weights missing", both(key(weights="best.pth"), replaced("name: cifar_basic", "name: resnet18")),
          TRAIN, "best.pth is missing"),
    model("pretrained weights of another network", both(
        key(weights="models/model.safetensors"), replaced("name: cifar_basic", "name: resnet18"),
        key(image_size="32")), TRAIN, "does not fit resnet18"),
    model("text as weights", both(key(weights="README.md"), replaced("name: cifar_basic", "name: resnet18")),
          TRAIN, "cannot be read"),
    choice("an unknown network", replaced("name: cifar_basic", "name: resnet19"), "did you mean resnet"),
    choice("images too small", replaced("name: cifar_basic", "name: alexnet"), "alexnet cannot take images of 8×8",
           )._replace(slow=True),
    choice("images not square enough", replaced("name: cifar_basic", "name: vit_b_16"), "vit_b_16 cannot take"),
    choice("constants of colour", key(normalize="{mean: [1, 1, 1], std: [1, 1, 1]}"), "model.normalize has 3 values"),
    choice("shifts larger than the images", key(crop="8"), "train.augment.crop is 8"),
    choice("no such device", key(device="cuda:7", deterministic="true"), "train.device is cuda:7"),
    choice("Apple's device", key(device="mps", deterministic="true"), "train.device is mps"),
    choice("tf32 on a CPU", key(device="cpu", deterministic="true", precision="tf32"), "tf32"),
    choice("weights of two classes", key(class_weights="[1, 2]"), "train.loss.class_weights has 2 numbers for 10"),
    choice("colour of grey images", key(saturation="0.5"), "augment.saturation"),
    choice("single images with batch norm", both(
        replaced("name: cifar_basic", "name: cifar_vgg"), key(batch_size="1")), "at least 2"),
    choice("a rate that diverges", both(
        replaced("lr: 4.0e-3", "lr: 1.0e+30"), replaced("warmup_epochs: 1", "warmup_epochs: 0")),
        "reduce train.optimizer.lr"),
    choice("an image that is not there", key(image="99999"), "visualize.image is 99999", VISUALIZE),
    choice("a layer that is not there", key(layer="99"), "visualize.layer is 99", VISUALIZE),
    result("metrics gone", gone("reports/metrics.json"), "src.summary", "reports/metrics.json is missing"),
    result("metrics gone", gone("reports/metrics.json"), VISUALIZE, "reports/metrics.json"),
    result("metrics cut off", cut("reports/metrics.json"), "src.summary", "reports/metrics.json is damaged"),
    result("metrics cut off", cut("reports/metrics.json"), VISUALIZE, "reports/metrics.json is damaged"),
    result("metrics of others", content("reports/metrics.json", "{}"), "src.summary", "reports/metrics.json"),
    *(result("metrics a list", content("reports/metrics.json", "[]"), command, "reports/metrics.json is damaged")
      for command in ("src.summary", VISUALIZE)),
    result("metrics of others", content("reports/metrics.json", "{}"), VISUALIZE, "images: Field required"),
    result("training of others", content("reports/training.json", '{"epochs": "1"}'), VISUALIZE, "training.json"),
    result("confusion of another run", content("reports/confusion.csv", "label,prediction,count\n0,1,9\n"), VISUALIZE,
           "reports/confusion.csv is of another run"),
    result("predictions cut off", cut("reports/predictions.csv"), VISUALIZE, "reports/predictions.csv is damaged"),
    result("kernels a single array", single_array("models/snapshots.npz"), VISUALIZE, "snapshots.npz is damaged"),
    result("dvc.yaml in conflict", content("dvc.yaml", CONFLICT * 2), TRAIN, "dvc.yaml, which says which code"),
    result("dvc.lock not readable", lambda f: (f / "dvc.lock").chmod(0), "src.recover", "dvc.lock: permission denied",
           user=True),
    result("history empty", content("reports/history.csv", ""), VISUALIZE, "reports/history.csv is damaged"),
    result("predictions not UTF-8", content("reports/predictions.csv", b"\xff\xfe"), VISUALIZE, "predictions.csv"),
    result("kernels cut off", cut("models/snapshots.npz"), VISUALIZE, "models/snapshots.npz is damaged"),
    result("models is a file", both(gone("models"), content("models", "")), TRAIN, "models"),
    result("models is read-only", lambda f: (f / "models").chmod(0o555), TRAIN, "permission denied", user=True),
    result("reports is read-only", lambda f: (f / "reports").chmod(0o555), EVALUATE, "permission denied", user=True),
    result("data/prepared is a file", both(gone(PREPARED), content(PREPARED, "")), SPLIT, "data/prepared"),
    result("data/raw gone", gone("data/raw"), SPLIT, "data/raw"),
    result("data/raw is a link to itself", both(gone("data/raw"), linked("data/raw", "raw")), SPLIT, "data/raw"),
    result("dvc.lock in conflict", content("dvc.lock", f"<<<<<<< HEAD\n{CONFLICT}"), "src.promote", "dvc.lock"),
    result("no git", gone(".git"), "src.report --base main", "not a git repository"),
    result("another folder", gone("src"), "src.report", "commands run from the repository's root"),
    *(Case("results and folders", "another folder", gone("src"), command, "from the repository's root")
      for command in CHECKING),
    line("src.report --base nonsense", "nonsense"),
    line("src.report --base HEAD --head nonsense", "nonsense"),
    line("src.report --base --exact", "--base"),
    line("src.promote", "dvc.lock records", flipped(MODEL)),
    line("src.promote --rollback --force why", "--rollback takes no --force"),
    line("src.promote --name a/b", "--name is 'a/b'"),
    line("src.promote --rollback", "MLflow", environment=NOWHERE),
    line("src.track show nonsense", "nonsense is not a file"),
    line("src.track show models:/nothing@champion", "nothing"),
    line("src.track rebuild nonsense", "nonsense"),
    line("src.track", "command"),
    line("src.track show HEAD", "MLflow", environment=NOWHERE),
    line("src.track verify", "MLflow", environment=NOWHERE),
    line("src.seeds --runs 0", "--runs is 0"),
    line("src.seeds --runs many", "--runs"),
    line("src.tune --trials 0", "--trials is 0"),
    line("src.tune --workers 0", "--workers is 0"),
    line("src.tune --timeout soon", "--timeout is soon"),
    line("src.tune --apply", "reports/tuning/best.json is missing"),
    line("src.tune --storage nonsense", "nonsense", environment=SEARCH),
    line("src.tune --storage oracle://a:secret@b/c", "oracle", environment=SEARCH),
    line("src.tune --storage sqlite:////nowhere/a.db", "sqlite", environment=SEARCH)._replace(slow=True),
    line("src.tune", "train.epoch", replaced("train.optimizer.lr: {", "train.epoch: {"), environment=SEARCH),
    line("src.tune", "data.limit cannot be searched", replaced("model.dropout: {low: 0.0, high: 0.5}",
         "data.limit: {low: 9, high: 99}"), environment=SEARCH),
    line("src.tune", "low must be less", replaced("{low: 0.0, high: 0.5}", "{low: 0.5, high: 0.0}")),
    line("src.tune", "tune.space", replaced("  space: ", "  space: {}\n  spaces: ")),
    line("src.tune --apply", "best.json", lambda f: write_files(f, {"reports/tuning/best.json": b"{"})),
    line("src.tune --apply", "best.json", lambda f: write_files(f, {"reports/tuning/best.json": b"{}"})),
    line("src.tune", "split.validation", both(key(validation="0.0"), gone(PREPARED)), environment=SEARCH)._replace(
        before=(SPLIT,)),
    line("src.predict", "PATH"),
    line("src.predict nowhere.jpg", "nowhere.jpg is missing"),
    line("src.predict README.md --top 0", "--top is 0"),
    line("src.predict README.md --format xml", "--format"),
    line("src.predict data/images", "no photos in data/images"),
    line("src.predict README.md --model models:/digits@champion", "MLflow at nonsense", environment=NOWHERE),
    line(f"src.predict README.md --model {'0' * 32}", "MLflow"),
    line("src.predict photo.png --explain README.md", "README.md", lambda f: write_files(f, {"photo.png": png(1, 8)})),
    line("src.export --output README.md/model.onnx", "README.md")._replace(slow=True),
    line("src.export --output models", "models")._replace(slow=True),
    *(Case("odd, and accepted", name, harm, DOWNLOAD) for name, harm in {
        "a fifo and a socket": both(photos(class_folders(TWO)), listening),
        "a link to a photo": both(photos(class_folders(TWO)), linked("photos/dog/x.png", "../cat/0.png")),
        "lines that end as in Windows": lambda folder: (folder / "params.yaml").write_text(
            (folder / "params.yaml").read_text(), newline="\r\n"),
    }.items()),
    *(Case("odd, and accepted", name, photos(files), SPLIT, before=(DOWNLOAD,)) for name, files in {
        "classes that are numbers": class_folders({"0": 8, "1e5": 8, "007": 8, "7": 8}),
        "classes that differ by case": class_folders({"Cat": 8, "cat": 8}),
        "classes with newlines": class_folders({"a\nb": 8, "c\td\"'": 8}),
    }.items()),
]  # fmt: skip
