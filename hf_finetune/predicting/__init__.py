"""`predict`: a trained model applied to files or to a data set."""

from hf_finetune.predicting.predict import predict

__all__ = ["predict"]
