"""The training loop, written out by hand with Accelerate. Read it from top to bottom: one banner, one slide.

It gives the numbers and writes the files of engines/trainer/, bit for bit: tests/parity holds the two
together.

    micro-batch            what one device sees in one forward pass
    window                 the micro-batches of one update: G of them, fewer at the end of an epoch
    update                 one step of the optimizer; `state.global_step` counts them
    args, state, control   what was asked for, what has happened, what is due now (all three of transformers)

Shapes: B rows in a micro-batch, C classes, L positions; [] is a scalar.
"""

from __future__ import annotations

from contextlib import nullcontext
from itertools import islice
from pathlib import Path

from accelerate import skip_first_batches
from accelerate.utils import gather
from torch import nn
from transformers import TrainerState, TrainingArguments

from hf_finetune.engines import checkpoint, devices
from hf_finetune.engines.arguments import require_arguments
from hf_finetune.engines.bookkeeping import Plan, settle_arguments
from hf_finetune.engines.calendar import Calendar
from hf_finetune.engines.evaluation import count_targets, to_device
from hf_finetune.engines.ingredients import Filler, Ingredients
from hf_finetune.engines.loaders import build_train_loader
from hf_finetune.optim import build_optimizer, build_scheduler, current_rate, is_metric_driven, set_mode

__all__ = ["fit"]


def fit(parts: Ingredients, resume_from: Path | None = None) -> TrainerState:
    """Train `parts.model` in place with the loop below.

    Args:
        parts: What to train, on what, how.
        resume_from: A `checkpoint-<step>` folder of either engine or of a plain `Trainer`.

    Returns:
        The final state: log history, best score and its checkpoint.

    Raises:
        UserError: The arguments ask for what this engine does not do.
        NonFiniteError: A loss or gradient norm became NaN or infinite.
        Interrupted: SIGTERM or Ctrl-C; a checkpoint was written.
        CheckpointError: `resume_from` is damaged or of another model.
        RunFolderError: The disk is full.
    """
    require_arguments(parts.args, "accelerate", has_eval_set=parts.eval_dataset is not None)

    def attempt(args: TrainingArguments) -> TrainerState:
        return _train(parts, args, resume_from)

    return devices.search_batch_size(attempt, parts.model, settle_arguments(parts.args), resume_from)


def _train(parts: Ingredients, args: TrainingArguments, resume_from: Path | None) -> TrainerState:
    G = args.gradient_accumulation_steps

    # ---- 1. Devices ----------------------------------------------------------------------------------------
    # The launcher decides how many processes run this file. Each has its own device and its own share of the
    # rows. The model is the same on all of them, because they exchange their gradients.
    devices.seed_all(args)
    accelerator = devices.build_accelerator(parts.model, args)
    devices.place_model(parts.model, args)
    if resume_from is not None:
        checkpoint.verify(resume_from)
        checkpoint.load_weights(resume_from, parts.model)

    # ---- 2. Data -------------------------------------------------------------------------------------------
    # The order of the rows is a function of (seed, epoch), and so is every random augmentation.
    loader = build_train_loader(parts, args)
    plan = Plan.of(args, loader)

    # ---- 3. Optimizer and schedule -------------------------------------------------------------------------
    # `prepare` lets the model exchange gradients and sets up mixed precision. The schedule is not prepared:
    # Accelerate would step it once for every process.
    model, optimizer = accelerator.prepare(parts.model, build_optimizer(parts.model, args))
    if accelerator.scaler is None:
        optimizer = optimizer.optimizer  # the wrapper is there for fp16's loss scaling
    scheduler = build_scheduler(optimizer, args, plan.num_updates)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if resume_from is not None:
        checkpoint.load_optimizer(resume_from, optimizer, scheduler, accelerator.scaler)

    # ---- 4. The clock --------------------------------------------------------------------------------------
    # The calendar keeps `state` and `control`, tells the callbacks what happens and does what is due. When a
    # log, an evaluation or a save is due is decided by a callback: DefaultFlowCallback of transformers.
    calendar = Calendar(parts, args, plan, accelerator, optimizer, scheduler, loader)
    state, progress = calendar.begin(resume_from)

    with calendar.watch:  # Ctrl-C and SIGTERM now wait for the end of an update
        # ---- 5. Epochs -------------------------------------------------------------------------------------
        # One pass over the rows each. A run that goes on within an epoch skips what was done of it before.
        for epoch in calendar.epochs_left():
            calendar.fire("epoch_begin")
            model.train()
            set_mode(optimizer, training=True)
            loader.set_epoch(epoch)
            num_done = progress.num_updates * G
            micro_batches = iter(skip_first_batches(loader, num_done) if num_done else loader)

            while window := list(islice(micro_batches, G)):
                # ---- 6. One window: the gradient of the mean over all its targets, on all devices ----------
                # Each loss is a sum divided by the number of targets in the whole window. The gradients are
                # therefore those of one large batch, however it was cut into micro-batches.
                calendar.fire("step_begin")
                num_targets = count_targets(window).to(accelerator.device)  # []
                if accelerator.num_processes > 1 and args.average_tokens_across_devices:
                    num_targets = gather(num_targets).sum()
                losses = []
                for i, batch in enumerate(window):
                    inputs = to_device(batch, accelerator.device)
                    labels = inputs.pop("labels")  # [B], or [B, L]
                    is_last = i == len(window) - 1  # gradients are exchanged once per window
                    with nullcontext() if is_last else accelerator.no_sync(model):
                        outputs = model(**inputs)  # logits: [B, C], or [B, L, C]
                        loss = parts.loss(
                            outputs, labels, inputs=inputs, num_items_in_batch=num_targets
                        )  # []
                        if args.average_tokens_across_devices:
                            loss = loss * accelerator.num_processes  # the exchange averages; we want the sum
                        if isinstance(batch, Filler):
                            loss = loss * 0  # no row was left for this process; the exchange needs all
                        accelerator.backward(loss)
                    losses.append(loss.detach())
                    calendar.count(batch, losses[-1])
                    if not is_last:
                        calendar.fire("substep_end")

                # ---- 7. One update: clip, look, step, schedule, forget the gradient ------------------------
                # "Look": where the loss or the norm is not finite, the guard stops the run, or lets this
                # update pass without a gradient. A plateau schedule steps after an evaluation, by its score.
                accelerator.unscale_gradients()
                grad_norm = nn.utils.clip_grad_norm_(weights, args.max_grad_norm or float("inf")).item()
                if calendar.should_skip(losses, grad_norm):
                    _forget_gradients(weights)  # an optimizer changes nothing where there is no gradient
                calendar.fire("pre_optimizer_step")
                optimizer.step()
                calendar.fire("optimizer_step")
                learning_rate = current_rate(scheduler)  # the one this update was made with
                if not accelerator.optimizer_step_was_skipped and not is_metric_driven(scheduler):
                    scheduler.step()
                _forget_gradients(weights)

                # ---- 8. The calendar: log, evaluate, save, stop --------------------------------------------
                # An evaluation comes before the save, so that the checkpoint knows the score it earned.
                progress.num_updates += 1
                state.global_step += 1
                state.epoch = epoch + min(progress.num_updates * G, len(loader)) / len(loader)
                calendar.fire("step_end")
                calendar.do_what_is_due(grad_norm, learning_rate)
                if calendar.control.should_epoch_stop or calendar.control.should_training_stop:
                    break

            calendar.end_epoch()

        # ---- 9. Finish -------------------------------------------------------------------------------------
        # The last log, the best weights back into the model, the last event.
        calendar.finish()
    return state


def _forget_gradients(weights: list[nn.Parameter]) -> None:
    for weight in weights:
        weight.grad = None
