"""Tables as people write them: no row is lost for the lack of a header, and none for the wrong separator."""

import json

import datasets
import pytest
from PIL import Image

from hf_finetune.data.load import load_splits
from hf_finetune.errors import DataError

ROWS = [f"img/{i}.png,{'ab'[i % 2]}" for i in range(6)]
TEXT = "\n".join(["image,label", *ROWS]) + "\n"


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a table beside six pictures, and returns its path."""
    (tmp_path / "img").mkdir()
    for i in range(6):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "img" / f"{i}.png")

    def make(text: str, name: str = "table.csv", **kwargs):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, **kwargs)
        return tmp_path / name

    return make


@pytest.fixture
def read(recipe_for):
    return lambda path, **data: load_splits(recipe_for(path, **data))


def test_a_table_without_a_header(write, read):
    path = write("\n".join(ROWS))
    todo = r"such as 'image,label', or say data: \{options: \{names: \[image, label\]\}\}\."
    with pytest.raises(
        DataError, match=rf"table\.csv: it has no header: .* \('img/0\.png' is the name .*{todo}"
    ):
        read(path)
    for options in ({"names": ["image", "label"]}, {"header": None}):
        rows = read(path, options=options)["train"]
        assert rows[:][rows.column_names[0]] == [f"img/{i}.png" for i in range(6)]
    assert read(write(TEXT))["train"].column_names == ["image", "label"]


@pytest.mark.parametrize(
    ("first", "is_row"),
    [
        ("gone/x.JPEG,cat", True),
        ("speech7,a", True),
        ("speech7,0.25", True),
        ("label,a", False),
        ("0,1", False),
        ("what,who", False),
    ],
)
def test_what_a_first_line_is(first, is_row, write, read):
    path = write("\n".join([first, *ROWS]))
    if is_row:
        with pytest.raises(DataError, match="it has no header"):
            read(path)
    else:
        assert read(path)["train"].column_names == first.split(",")
        assert len(read(path, columns={"image": first.split(",")[0]})["train"]) == 6


@pytest.mark.parametrize(("sep", "option"), [(";", "';'"), ("\t", r'"\\t"'), ("|", r"'\|'")])
def test_another_separator(sep, option, write, read):
    path = write(TEXT.replace(",", sep))
    with pytest.raises(
        DataError, match=rf"it has only one, .*, or say data: \{{options: \{{sep: {option}\}}\}}"
    ):
        read(path)
    assert read(path, options={"sep": sep})["train"].column_names == ["image", "label"]


def test_tab_separated_values(write, read, tmp_path):
    path = write(TEXT.replace(",", "\t"), "set/table.tsv")
    for data in ({"path": path}, {"path": path.parent}, {"path": "csv", "data_files": str(path)}):
        rows = read(**data)["train"]
        assert rows.column_names == ["image", "label"]
        assert len(rows) == 6
    with pytest.raises(DataError, match=r"table\.tsv is separated by tabs and other\.csv by commas"):
        read("csv", data_files=[str(path), str(write(TEXT, "other.csv"))])
    with pytest.raises(
        DataError, match=r"has only one, 'image,label'\. Save it with \"\\t\" between them, or say"
    ):
        read(write(TEXT, "set/table.tsv"))


def test_rows_in_a_cell(write, read):
    torn = 'image,label\nimg/0.png,"hello\nimg/1.png,b\nimg/2.png,"bye\nimg/3.png,c\n'
    with pytest.raises(
        DataError, match=r"row 2 with the header: the cell that begins with 'hello' has other ro"
    ):
        read(write(torn))
    assert len(read(write(torn), options={"quoting": 3})["train"]) == 4
    assert len(read(write('image,text\nimg/0.png,"one, two\nthree, ""four"""\nimg/1.png,b\n'))["train"]) == 2


def test_more_cells_than_columns(write, read):
    with pytest.raises(DataError, match=r"its rows have 3 cells, and its first line names 2 columns\. Name"):
        read(write("image,label\n" + "\n".join(f"{row},x" for row in ROWS)))


def test_json_with_all_rows_in_a_list_of_it(write, read):
    rows = [{"image": f"img/{i}.png", "label": "ab"[i % 2]} for i in range(6)]
    path = write(json.dumps({"version": 1, "data": rows}), "table.json")
    with pytest.raises(
        DataError, match=r"a single row: its column 'data' is a list of rows\. Say so: data: \{opt"
    ):
        read(path)
    assert len(read(path, options={"field": "data"})["train"]) == 6
    assert len(read(write(json.dumps(rows), "list.json"))["train"]) == 6


def test_encodings(write, read):
    assert read(write("\ufeff" + TEXT))["train"].column_names == ["image", "label"]
    path = write(TEXT.replace("a", "ä"), encoding="latin-1")
    with pytest.raises(
        DataError, match=r"Save it as UTF-8, or say its encoding, such as data: \{options: \{enc"
    ):
        read(path)
    assert len(read(path, options={"encoding": "latin-1"})["train"]) == 6


def test_tables_of_a_folder(write, read, tmp_path):
    for name in ("a.csv", "b_test.csv"):
        write(TEXT, f"set/{name}")
    with pytest.raises(DataError) as caught:
        read(tmp_path / "set")
    assert "some files have the name of a split (b_test.csv), others have none (a.csv). Name" in str(
        caught.value
    )
    assert "{data_files: {train: [a.csv], test: [b_test.csv]}}" in str(caught.value)
    splits = read(tmp_path / "set", data_files={"train": ["a.csv"], "test": ["b_test.csv"]})
    assert {name: len(split) for name, split in splits.items()} == {"train": 6, "test": 6}
    assert len(read("csv", data_files=str(tmp_path / "set" / "*.csv"))["train"]) == 12
    assert (
        len(read("csv", data_files=[str(tmp_path / "set" / n) for n in ("a.csv", "b_test.csv")])["train"])
        == 12
    )
    (tmp_path / "set" / "a.csv").rename(tmp_path / "set" / "Train.csv")
    assert {name: len(split) for name, split in read(tmp_path / "set").items()} == {"train": 6, "test": 6}


def test_shards_as_datasets_names_them(write, read, tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "more-00000-of-00001"):
        (tmp_path / "set" / "data").mkdir(parents=True, exist_ok=True)
        write(TEXT, f"set/data/{name}.csv")
    assert {name: len(split) for name, split in read(tmp_path / "set").items()} == {"train": 12, "more": 6}


def test_a_copy_of_a_data_set_of_the_hub_says_itself_what_is_what(write, read, tmp_path):
    files = "configs:\n- config_name: default\n  data_files:\n  - {split: train, path: a.csv}\n"
    write(f"---\n{files}---\n", "set/README.md")
    write(TEXT, "set/a.csv")
    write(TEXT, "set/b.csv")
    assert len(read(tmp_path / "set")["train"]) == 6
    write("", "set/set.py")
    with pytest.raises(
        DataError, match=r"is read by a script of its own, which datasets does not run any more"
    ):
        read(tmp_path / "set")


def test_a_torn_data_set(read, tmp_path):
    datasets.Dataset.from_dict({"x": list(range(1000))}).save_to_disk(tmp_path / "saved")
    file = next((tmp_path / "saved").glob("*.arrow"))
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"saved cannot be read: Expected to be able to read 8000 bytes"):
        read(tmp_path / "saved")
