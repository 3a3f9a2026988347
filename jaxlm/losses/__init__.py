"""Loss functions, one task in each file, and penalties that can be added to them."""

from jaxlm.losses.adversarial import Adversarial
from jaxlm.losses.classification import IMAGE, TEXT, Classification, classification
from jaxlm.losses.contrastive import contrastive
from jaxlm.losses.ctc import ctc
from jaxlm.losses.detection import Detection, detection
from jaxlm.losses.dpo import DPO, dpo
from jaxlm.losses.flow_matching import FlowMatching, flow_matching
from jaxlm.losses.grpo import GRPO, grpo
from jaxlm.losses.masked_language_model import masked_language_model
from jaxlm.losses.next_token import next_token
from jaxlm.losses.offline import CQL, BehaviourCloning
from jaxlm.losses.penalty import penalise
from jaxlm.losses.picture_codes import NextCode, VectorQuantisation, next_code, vector_quantisation
from jaxlm.losses.q_learning import DQN, q_learning
from jaxlm.losses.recommendation import NextItem, Recommendation, next_item, recommendation
from jaxlm.losses.regression import TABLE, Regression, regression
from jaxlm.losses.sequence_to_sequence import SequenceToSequence, sequence_to_sequence
from jaxlm.losses.set_prediction import SetPrediction, set_prediction
from jaxlm.losses.soft_actor_critic import SAC
from jaxlm.losses.spans import answer_spans
from jaxlm.losses.spectral import Spectral, spectral
from jaxlm.losses.text_to_mel import TextToMel, text_to_mel
from jaxlm.losses.token_classification import token_classification

__all__ = [
    "CQL",
    "DPO",
    "DQN",
    "GRPO",
    "IMAGE",
    "SAC",
    "TABLE",
    "TEXT",
    "Adversarial",
    "BehaviourCloning",
    "Classification",
    "Detection",
    "FlowMatching",
    "NextCode",
    "NextItem",
    "Recommendation",
    "Regression",
    "SequenceToSequence",
    "SetPrediction",
    "Spectral",
    "TextToMel",
    "VectorQuantisation",
    "answer_spans",
    "classification",
    "contrastive",
    "ctc",
    "detection",
    "dpo",
    "flow_matching",
    "grpo",
    "masked_language_model",
    "next_code",
    "next_item",
    "next_token",
    "penalise",
    "q_learning",
    "recommendation",
    "regression",
    "sequence_to_sequence",
    "set_prediction",
    "spectral",
    "text_to_mel",
    "token_classification",
    "vector_quantisation",
]
