"""The verbs: parse, call, print. No logic here, and no torch before a verb needs it."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from hf_finetune.cache_folders import use_writable_caches
from hf_finetune.errors import HfFinetuneError, Interrupted, UserError
from hf_finetune.launch import launch
from hf_finetune.processes import (
    disconnect,
    follow_launcher,
    is_first_process,
    is_heard,
    signal_of,
    stop_on_signals,
)
from hf_finetune.secrecy import HidingFormatter, escape_controls, hide_secrets
from hf_finetune.streams import Streams

__all__ = ["app", "main"]

LAST = "last"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)

RecipePath = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe, such as recipes/quickstart.yaml.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Overrides, such as training.learning_rate=3e-5."),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, such as runs/quickstart.")]
Source = Annotated[
    str,
    typer.Argument(
        metavar="RUN|HUB_ID", help="A run folder, or owner/name[@revision] of one that was pushed to the Hub."
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="Run code that comes with the checkpoint or a metric of the Hub."
    ),
]

AllowPickle = Annotated[
    bool,
    typer.Option("--allow-pickle", help="Read tensors out of a pickle where there are no safetensors."),
]

AllowImports = Annotated[
    bool | None,
    typer.Option(
        "--allow-imports/--skip-imports",
        help="Run the files that the recipe of the folder imports, or leave them out; needed where no run "
        "here has made it.",
    ),
]


@app.callback()
def start(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Fine-tune Hugging Face checkpoints from one recipe."""
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"hf-finetune {version_of('hf-finetune')}")
        raise typer.Exit()


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="[CHECKPOINT]", help="Go on from the last whole checkpoint, or from this one."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run that is in the folder.")
    ] = False,
    processes: Annotated[int, typer.Option(help="Train in so many processes of this machine.")] = 1,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
) -> None:
    """Train what a recipe says: model, scores and report in a run folder."""
    from hf_finetune.recipe import load_recipe
    from hf_finetune.run_folder import output_folder, require_free

    loaded = load_recipe(recipe, overrides or ())
    require_free(Path(output_folder(loaded)))
    if processes != 1:
        words = _without(_give_resume_a_value(sys.argv[1:]), "--processes")
        raise typer.Exit(launch(words, num_processes=processes))
    from hf_finetune.runner import run as run_recipe
    from hf_finetune.terminal import print_summary

    _quiet_libraries()
    result = run_recipe(
        loaded,
        resume=resume == LAST or (Path(resume) if resume else False),
        overwrite=overwrite,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
    )
    if is_first_process():
        print_summary(result.folder.path)


@app.command()
def check(
    recipe: RecipePath,
    overrides: Overrides = None,
    schema_only: Annotated[
        bool, typer.Option("--schema-only", help="Read the recipe only: no model, no data, no torch.")
    ] = False,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
) -> None:
    """Find everything that can be wrong before any training step."""
    from hf_finetune.recipe import list_remarks, load_recipe

    loaded = load_recipe(recipe, overrides or ())
    num_warnings = 0
    if schema_only:
        for key, remark in list_remarks(loaded):
            typer.echo(f"{loaded.where(key)}: {key} {remark}")
    else:
        from hf_finetune.runner import check as check_recipe

        _quiet_libraries()
        for line in check_recipe(loaded, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle):
            typer.echo(escape_controls(line, keep="\n\t"))  # names of classes may have any
            num_warnings += line.startswith("warning ")
    looked_at = " in what it says; names, model and data were not looked at" if schema_only else ""
    wrong = f"wrong but the warning{'s'[: num_warnings > 1]} above" if num_warnings else "wrong"
    typer.echo(f"{recipe}: nothing {wrong} found{looked_at}")


@app.command()
def evaluate(
    source: Source,
    overrides: Overrides = None,
    split: Annotated[
        str | None, typer.Option(help="eval or test; if left out test, or the only one of other data.")
    ] = None,
    unknown_labels: Annotated[
        Literal["refuse", "wrong"],
        typer.Option(help="refuse rows of classes that the model does not know, or count them as wrong."),
    ] = "refuse",
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    allow_imports: AllowImports = None,
) -> None:
    """Score the best model of a run again, on its data or on others (data.path=...)."""
    from hf_finetune.runner import evaluate as evaluate_run

    _quiet_libraries()
    scores = evaluate_run(
        source,
        split=split,
        overrides=overrides or (),
        unknown_labels=unknown_labels,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        allow_imports=allow_imports,
    )
    typer.echo(json.dumps(scores.to_json(), indent=2))


@app.command()
def predict(
    source: Source,
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE|FOLDER|DATASET...", help="Files, folders, or one data set.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Where the rows go; standard output if left out.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--format", help="jsonl, csv or parquet; by the suffix of --output.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the data set; a folder is then one, too.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of the data set, or audio=NAME,start=NAME,duration=NAME.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
    csv_safe: Annotated[
        bool, typer.Option("--csv-safe", help="No cell of a csv begins as a spreadsheet's formula does.")
    ] = False,
    trust_remote_code: TrustRemoteCode = False,
    allow_pickle: AllowPickle = False,
    allow_imports: AllowImports = None,
) -> None:
    """Apply the best model of a run to files or a data set; exit code 3 when something was skipped."""
    from hf_finetune.predicting import predict as predict_inputs

    _quiet_libraries()
    num_skipped = predict_inputs(
        source,
        inputs,
        output=output,
        kind=kind,
        split=split,
        column=column,
        batch_size=batch_size,
        overwrite=overwrite,
        csv_safe=csv_safe,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        allow_imports=allow_imports,
    )
    if num_skipped:
        raise typer.Exit(3)


@app.command()
def report(run_folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")]) -> None:
    """Make the report of a run again, and the card of a finished one."""
    from hf_finetune.card import write_pages

    for folder in run_folders:
        typer.echo(write_pages(folder))


@app.command()
def push(
    run_folder: RunPath,
    repo_id: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Where to; that of the recipe if left out.")
    ] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="How a new repository is made.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="Made when it is not there.")] = None,
) -> None:
    """Push the best model of a run to the Hub, or finish a push that failed."""
    from hf_finetune.publish import push as push_run

    typer.echo(push_run(run_folder, repo_id=repo_id, private=private, branch=branch).url)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from hf_finetune.recipe import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def main() -> None:
    """Run the command line and exit: 0 done, 1 a defect of ours, 2 the user can fix it, 128 + n a signal."""
    from hf_finetune.terminal import print_error

    streams = Streams()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(HidingFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("hf_finetune").setLevel(logging.INFO if is_first_process() else logging.ERROR)
    follow_launcher()
    if not {"--help", "--version", "schema", "--schema-only"} & set(sys.argv[1:]):
        use_writable_caches()
    code = _run_and_explain(_give_resume_a_value(sys.argv[1:]), streams)
    disconnect(code)
    code, problem = streams.end(code)
    if problem is not None:
        print_error(problem)
    sys.exit(code)


def _run_and_explain(words: Sequence[str], streams: Streams | None = None) -> int:
    from hf_finetune.terminal import print_error

    try:
        with stop_on_signals() as received:
            app(list(words))
    except SystemExit as done:
        if not received:
            return done.code if isinstance(done.code, int) else 0
        stopped = Interrupted(received[-1])  # Typer takes the KeyboardInterrupt
        print_error(stopped)
        return stopped.exit_code
    except (UserError, Interrupted) as error:
        if is_heard():
            print_error(error)
        return error.exit_code
    except KeyboardInterrupt as stop:  # a second one, while the first was being dealt with
        stopped = Interrupted(signal_of(stop))
        print_error(stopped)
        return stopped.exit_code
    except Exception as error:
        # whatever is left is a defect of ours, and its traceback is what we need to mend it
        if streams is not None and (problem := streams.explain(error)) is not None:
            print_error(problem)
            return problem.exit_code
        typer.echo(hide_secrets(traceback.format_exc()), err=True, nl=False)
        typer.echo("This is a defect of hf-finetune, not of your recipe: please report it.", err=True)
        return HfFinetuneError.exit_code
    return 0


def _quiet_libraries() -> None:
    """Leave the terminal to us: what transformers reports while loading, model.py says in a line."""
    import datasets
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if not sys.stderr.isatty() or not is_first_process():
        datasets.disable_progress_bars()


def _give_resume_a_value(words: Sequence[str]) -> list[str]:
    """Let `--resume` stand alone: to Typer an option has a value or is a flag, never both."""
    given = list(words)
    for i, word in enumerate(given):
        if word == "--resume":
            follower = given[i + 1] if i + 1 < len(given) else "-"
            if follower.startswith("-") or "=" in follower or follower.endswith((".yaml", ".yml")):
                given[i] = f"--resume={LAST}"
    return given


def _without(words: Sequence[str], option: str) -> list[str]:
    """Return the words without `--option VALUE` and `--option=VALUE`."""
    kept: list[str] = []
    is_value = False
    for word in words:
        if not is_value and word != option and not word.startswith(f"{option}="):
            kept.append(word)
        is_value = word == option
    return kept
