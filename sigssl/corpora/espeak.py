"""espeak-ng through ctypes: speech with the time of every word and phoneme.

The library keeps state (phases of the voice's flutter and of its waves) in static variables that nothing resets, so the sound
of an utterance depends on all that the process said before. Equal sound needs equal history: `synthesis.py` gives each
speaker a process.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16

from sigssl.errors import UserError
from sigssl.optional import require

SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: espeak_Synth returns when all is said
PHONEME_EVENTS, DONT_EXIT = 0x0001, 0x8000  # options of espeak_Initialize
UTF8 = 1
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER
LIST_END, WORD, PHONEME = 0, 1, 7  # espeak_EVENT_TYPE
BUFFER_MS = 1000


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h, revision 12."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Mark(NamedTuple):
    """A beginning: `sample` from the start of the speech, `position` of the letter in the text (from 0); a word has no name."""

    sample: int
    position: int
    phoneme: str | None


class Spoken(NamedTuple):
    """Speech at `sample_rate` hertz, and where its words and phonemes begin, in order."""

    samples: Int16[np.ndarray, " samples"]
    sample_rate: int
    marks: list[Mark]


class Espeak:
    """The one synthesiser of this process.

    Raises:
        MissingExtraError: espeakng-loader is not installed.
        UserError: the library does not start.
    """

    def __init__(self) -> None:
        loader = require("espeakng_loader", "to synthesise speech")
        self.library = ctypes.CDLL(loader.get_library_path())
        data = loader.get_data_path().encode()
        self.sample_rate = self.library.espeak_Initialize(SYNCHRONOUS, BUFFER_MS, data, PHONEME_EVENTS | DONT_EXIT)
        if self.sample_rate <= 0:
            raise UserError(f"espeak-ng does not start with the data in {loader.get_data_path()}. Reinstall espeakng-loader.")
        self._pieces: list[bytes] = []
        self._marks: list[Mark] = []
        self._callback = _CALLBACK(self._receive)  # must live as long as the library may call it
        self.library.espeak_SetSynthCallback(self._callback)

    def seed(self, seed: int) -> None:
        """Seed the library's noise (breath, fricatives); by itself it seeds from the clock."""
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(seed))

    def say(self, text: str, voice: str, rate: int, pitch: int, pitch_range: int) -> Spoken:
        """Speak a text.

        Args:
            text: what to say.
            voice: accent and variant, as `en-us+f2`.
            rate: words per minute, 80 to 450.
            pitch: base pitch, 0 to 99.
            pitch_range: liveliness, 0 to 99.

        Raises:
            UserError: no such voice, or the synthesis fails.
        """
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise UserError(f"espeak-ng has no voice {voice!r}.")
        for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, pitch_range)):
            self.library.espeak_SetParameter(parameter, value, 0)
        self._pieces, self._marks = [], []
        data = text.encode()
        if self.library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 0, 0, UTF8, None, None):
            raise UserError(f"espeak-ng could not speak {text!r}.")
        return Spoken(np.frombuffer(b"".join(self._pieces), np.int16), self.sample_rate, self._marks)

    def _receive(self, wav: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:
        if wav and count:
            self._pieces.append(ctypes.string_at(wav, 2 * count))
        n = 0
        while (event := events[n]).type != LIST_END:
            if event.type in (WORD, PHONEME):
                name = event.id.string.decode() if event.type == PHONEME else None
                self._marks.append(Mark(event.sample, event.text_position - 1, name))
            n += 1
        return 0
