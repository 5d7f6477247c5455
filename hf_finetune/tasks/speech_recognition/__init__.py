"""Write down what is said: by CTC, a token a frame, or by a decoder that writes (sequence to sequence)."""

from hf_finetune.tasks.speech_recognition.choose import SpeechRecognition
from hf_finetune.tasks.speech_recognition.ctc import CtcRecognition
from hf_finetune.tasks.speech_recognition.seq2seq import Seq2SeqRecognition

__all__ = ["CtcRecognition", "Seq2SeqRecognition", "SpeechRecognition"]
