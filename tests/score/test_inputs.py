import json

from sepasr.files import write_text
from sepasr.score.inputs import system_info
from sepasr.score.result import RecogniserInfo, SystemInfo, relation

TINY = {"name": "whisper_tiny_en", "family": "whisper", "weights": "whisper-tiny.en"}
MINI = {"name": "wav2vec2_mini", "family": "wav2vec2", "weights": "mini"}


def separated(exp, encoders: list, folder: str = "ae/seed1") -> SystemInfo:
    """A system of one training of 100 steps for each encoder, None for a loss without."""
    history = [{"encoder": e, "seed": n, "steps": 100} for n, e in enumerate(encoders)]
    text = json.dumps({"history": history})
    write_text(exp / "separate" / folder / "separator.json", text)
    return system_info(exp, folder)


def test_encoders_of_earlier_trainings_count(tmp_path):
    tiny = RecogniserInfo(*TINY.values())
    base = RecogniserInfo("base", "whisper", "whisper-base")
    mini = RecogniserInfo(*MINI.values())

    def relations(*encoders) -> list[str | None]:
        system = separated(tmp_path, list(encoders))
        return [relation(system, reader) for reader in (tiny, base, mini)]

    assert relations(TINY, MINI) == ["seen", "kin", "seen"]
    assert relations(MINI, None) == ["unseen", "unseen", "seen"]
    assert relations(None, TINY, TINY) == ["seen", "kin", "unseen"]
    assert relations(None, None) == [None] * 3
    assert separated(tmp_path, [TINY, MINI]).encoder == "wav2vec2_mini"
