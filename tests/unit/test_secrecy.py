"""The redaction: every form of a planted secret goes, and words that only look like one stay."""

from __future__ import annotations

import html
import json
import logging
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from hf_finetune.errors import UserError
from hf_finetune.recipe import Recipe, load_recipe
from hf_finetune.recipe.yaml12 import dump
from hf_finetune.run_folder import write_json, write_text
from hf_finetune.secrecy import HidingFormatter, find_credential, hide_in, hide_secrets, is_secret
from hf_finetune.tracking.parameters import flatten_recipe

PLANTED = "PLANTED"

SECRETS = {
    "https://bob:PLANTED@host/x": "https://(hidden)@host/x",
    "https://bob:PLANTED'PLANTED@host": "https://(hidden)@host",
    "postgres://bob:PLA/PLANTED@ED@host:5432/db": "postgres://(hidden)@host:5432/db",
    "https://PLANTED@github.com/x": "https://(hidden)@github.com/x",
    r"https:\/\/bob:PLANTED@host": r"https:\/\/(hidden)@host",
    "https%3A%2F%2Fbob%3APLANTED%40host": "https%3A%2F%2F(hidden)%40host",
    "https://h/x?v=1&sig=PLANTED%2Babc%3D&se=2": "https://h/x?v=1&sig=(hidden)&se=2",
    "?X-Amz-Signature=PLANTED&X-Amz-Credential=PLANTED%2F1&v=1": (
        "?X-Amz-Signature=(hidden)&X-Amz-Credential=(hidden)&v=1"
    ),
    "&amp;sig=PLANTED&amp;v=1": "&amp;sig=(hidden)&amp;v=1",
    r"\u0026sig=PLANTED\u0026v=1": r"\u0026sig=(hidden)\u0026v=1",
    "a%3Fv%3D1%26sig%3DPLANTED%252B%26x%3D1": "a%3Fv%3D1%26sig%3D(hidden)%26x%3D1",
    "Authorization: Bearer PLANTED": "Authorization: (hidden)",
    'headers: {Authorization: "Bearer PLANTED"}': 'headers: {Authorization: "(hidden)"}',
    "the server said Bearer PLANTED-value": "the server said Bearer (hidden)",
    "  secretAccessKey: PLANTED x": "  secretAccessKey: (hidden)",
    "  apiKeys: PLANTED": "  apiKeys: (hidden)",
    "{accessKey: PLANTED, x: 1}": "{accessKey: (hidden), x: 1}",
    "{'clientSecret': 'PLANTED\\'PLANTED', 'x': 1}": "{'clientSecret': '(hidden)', 'x': 1}",
    json.dumps(json.dumps({"apiKey": "PLANTED", "x": 1})): json.dumps(
        json.dumps({"apiKey": "(hidden)", "x": 1})
    ),
    "&#34;sasToken&#34;: &#34;PLANTED&#34;, x": "&#34;sasToken&#34;: &#34;(hidden)&#34;, x",
    "data.options.client_secret=PLANTED": "data.options.client_secret=(hidden)",
    "AccountName=x;AccountKey=PLANTED==;Endpoint=y": "AccountName=x;AccountKey=(hidden)",
    "auth: ['bob', 'PLANTED']": "auth: (hidden)",
    "passphrase: 'PLANTED''PLANTED'": "passphrase: '(hidden)'",
    "password: 12345678": "password: (hidden)",
    "AWS_SECRET_ACCESS_KEY=PLANTED hf-finetune": "AWS_SECRET_ACCESS_KEY=(hidden) hf-finetune",
    "a -----BEGIN PRIVATE KEY-----\nPLANTED\n-----END PRIVATE KEY----- b": "a (hidden) b",
    "x hf_" + "aB1" * 8: "x (hidden)",
}

HARMLESS = [
    '{"cookie": 0.7650965452194214, "token": 2.349034547805786e-01}',
    "tokenizer: x",
    "max_tokens_per_second: 12",
    "keywords: [a, b]",
    "num_key_value_heads: 4",
    "pad_token: '[PAD]'",
    "word_delimiter_token: '|'",
    "image_token: <image>",
    "key: value",
    "monkey: banana",
    "author: me",
    "signature: f(x)",
    "hub_token: null",
    "data_fingerprint: " + "ab12" * 16,
    "checkpoint_revision: " + "a1b2" * 10,
    "r.yaml:3:3: training.hub_token: a secret does not belong in a recipe. Run `hf auth login`.",
    '{"secret": 12, "token": {"f1": 0.5}}',
    "a bearer token is used in Basic authentication",
    "https://host:8080/a@b",
    "ssh://git@github.com/x",
    "abfss://container@account.dfs.core.windows.net/x",
    "hf://datasets/x/y@main/z.csv",
    "https://h/x?a=1&b=2&key=",
    "hf_finetune/recipes",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_goes(text):
    assert hide_secrets(text) == SECRETS[text]
    assert hide_secrets(SECRETS[text]) == SECRETS[text]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_text_stays(text):
    assert hide_secrets(text) == text


def test_values_of_the_environment_go_in_every_notation(monkeypatch):
    value = "PLANTED'comet&KEY\"0123456789 <x>"
    monkeypatch.setenv("COMET_API_KEY", value)
    forms = [
        value,
        json.dumps(value),
        repr(value),
        html.escape(value),
        quote(value, safe=""),
        quote_plus(value),
    ]
    forms += [dump({"run_name": f"a {value} b"}), f"prefix{value}suffix"]
    for form in forms:
        assert PLANTED not in hide_secrets(form)
    assert hide_secrets(f"run-{value}-1") == "run-(hidden)-1"
    assert hide_in({value: [value, {"x": (value,)}]}) == {"(hidden)": ["(hidden)", {"x": ("(hidden)",)}]}


@pytest.mark.parametrize(
    ("name", "value", "is_hidden"),
    [
        ("HF_TOKEN", "x", False),
        ("WANDB_API_KEY", "1234567", False),
        ("DB_PASSWORD_2", "planted-pw", True),
        ("MY_CONNECTION_STRING", "planted;value", True),
        ("SERVICE_SECRET", "planted-secret", True),
        ("SORT_KEY", "created_at", False),
        ("SIGN_KEY", "planted1234", True),
        ("PWD", "/some/folder1", False),
        ("TOKENIZERS_PARALLELISM", "false-or-true", False),
        ("SSH_AUTH_SOCK", "/run/agent.12345", False),
        ("SSL_PRIVATE_KEY", __file__, False),
    ],
)
def test_which_variables_hold_secrets(monkeypatch, name, value, is_hidden):
    monkeypatch.setenv(name, value)
    assert hide_secrets(f"a {value} b") == ("a (hidden) b" if is_hidden else f"a {value} b")


def test_names_in_any_spelling():
    yes = "accessKey secretAccessKey apiKey X-Api-Key connectionString sasToken clientSecret private_key pwd"
    yes += " apiKeys access_tokens WANDB_KEY cometKey pass dbPass github_pat"
    no = "tokenizer max_tokens pad_token keywords num_key_value_heads key decoder_start_token_id primary_key"
    no += " forward_pass pass_rate"
    assert all(map(is_secret, yes.split()))
    assert not any(map(is_secret, no.split()))


def test_errors_logs_and_files_are_without(tmp_path, monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "planted-token-value")
    error = UserError("no planted-token-value", where="https://a:pw@h", todo="token=planted")
    assert str(error) == "https://(hidden)@h: no (hidden). token=(hidden)"
    record = logging.makeLogRecord({"msg": "a\x1b[31m\u009b planted-token-value\nb\tc"})
    assert HidingFormatter().format(record) == "a\\x1b[31m\\x9b (hidden)\nb\tc"
    write_json(
        tmp_path / "x.json", {"apiKey": "planted", "labels": ["token", "planted-token-value"], "secret": 1}
    )
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "apiKey": "(hidden)",
        "labels": ["token", "(hidden)"],
        "secret": 1,
    }
    write_text(tmp_path / "x.txt", "planted-token-value \udcff")
    assert (tmp_path / "x.txt").read_text() == "(hidden) \\udcff"


RECIPE = """\
task: image-classification
model: {checkpoint: m}
data:
  path: csv
  data_files: x.csv
  options: %s
"""


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            "{endpoint: 'https://bob:PLANTED@minio/x'}",
            "6:23: data.options.endpoint: a password in a URL does not",
        ),
        (
            "{h: {Authorization: Bearer PLANTED1}}",
            "6:17: data.options.h.Authorization: a secret does not belong",
        ),
        ("{h: [Bearer PLANTED1]}", "6:17: data.options.h.0: the value of an Authorization header does not"),
        ("{secretAccessKey: PLANTED}", "6:13: data.options.secretAccessKey: a secret does not belong"),
        ("{password: 12345678}", "6:13: data.options.password: a secret does not belong"),
    ],
)
def test_a_recipe_with_a_secret_is_refused_without_showing_it(tmp_path, options, told):
    (tmp_path / "r.yaml").write_text(RECIPE % options)
    for words in ([], [f"data.options={options}"]):
        with pytest.raises(UserError) as caught:
            load_recipe(tmp_path / "r.yaml", words)
        assert PLANTED not in str(caught.value)
        assert "12345678" not in str(caught.value)
        assert (f"r.yaml:{told}" if not words else told.partition(" ")[2]) in str(caught.value)


def test_the_signature_of_a_url_is_taken_and_left_out_of_what_is_written():
    recipe = Recipe(
        task="image-classification",
        model={"checkpoint": "m", "config": {"pad_token": "x"}},
        data={"path": "csv", "data_files": "https://h/x.csv?sig=PLANTED", "columns": {"token": "words"}},
    )
    assert recipe.data.data_files == "https://h/x.csv?sig=PLANTED"
    assert "data_files: https://h/x.csv?sig=(hidden)" in recipe.to_yaml()
    assert flatten_recipe(recipe)["data.data_files"] == "https://h/x.csv?sig=(hidden)"
    assert find_credential("https://h/x.csv?sig=PLANTED") is None


@pytest.mark.parametrize(
    "piece", ["a", "key=", "token=x ", "http://", "://a:", '"apiKey": ', "%26sig%3D", "&#34;"]
)
def test_long_lines_take_no_longer_than_they_are_long(piece):
    text = piece * (200_000 // len(piece))
    begin = time.process_time()
    hide_secrets(text)
    assert time.process_time() - begin < 3  # twice as long would be four times that, were it quadratic


def test_the_page_of_a_report_keeps_its_own_script_and_style():
    templates = Path("hf_finetune/report/templates")
    for name in ("style.css", "script.js"):
        text = (Path(__file__).parents[2] / templates / name).read_text(encoding="utf-8")
        assert hide_secrets(text) == text
