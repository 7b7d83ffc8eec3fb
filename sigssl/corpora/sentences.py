"""A small grammar of everyday English of our own, for synthetic speech: a few hundred words, plain enough for an n-gram model.

Upper-case names are rules; alternatives are parted by bars and equally likely. Words that espeak-ng would run together with
their neighbours (`would have`, `to be`, `there are`) are left out, so that every word keeps its own place in time.
"""

from __future__ import annotations

import re
from random import Random

RULES = """
SENTENCE: NP VP | NP VP | NP VP | NP VP PLACE | NP VP WHEN | WHEN NP VP | NP VP CONJ NP VP | NP VP CONJ NP VP | ORDER | ORDER |
    QUESTION | QUESTION | SAYING NP VP | COUNT | CLOCK | THERE
NUMBERS: NUMBER plus NUMBER makes NUMBER | room NUMBER and room NUMBER | page NUMBER | page NUMBER and page NUMBER | it is half past
    UNIT | the train leaves at UNIT TEEN | the train leaves at UNIT TENS UNIT | NUMBER and NUMBER makes NUMBER
NP: the NOUN | the ADJ NOUN | DET NOUN | DET ADJ NOUN | the NUMBER NOUNS | NUMBER ADJ NOUNS | NAME | NAME and NAME | the NOUN
    PLACE | the PERSON | DET PERSON | the ADJ PERSON
OBJ: the NOUN | the ADJ NOUN | DET NOUN | DET ADJ NOUN | NUMBER NOUNS | NUMBER ADJ NOUNS | some NOUNS | a ADJ NOUN | many NOUNS
VP: PAST OBJ | PAST OBJ | PAST OBJ PLACE | WENT PLACE | WENT ADV | ADV PAST OBJ | looked ADJ | felt ADJ | gave PERSONOBJ OBJ |
    wanted OBJ | never PAST OBJ
PERSONOBJ: the PERSON | NAME | me | them | us
ORDER: please DO OBJ | DO OBJ PLACE | DO OBJ and DO OBJ | please DO OBJ WHEN | never DO OBJ | ADV DO OBJ
QUESTION: did NP DO OBJ | where is OBJ | who PAST OBJ | why did NP DO OBJ | can you DO OBJ | when will NAME DO OBJ | how did DET
    PERSON DO OBJ
SAYING: NAME said that | the PERSON told me that | everybody knew that | i think | we heard that | perhaps
COUNT: NAME counted NUMBER NOUNS and NUMBER NOUNS | NUMBER plus NUMBER makes NUMBER | page NUMBER shows OBJ | room NUMBER has
    NUMBER NOUNS
CLOCK: it is half past UNIT | the train leaves at UNIT TEEN | call me on DAY at UNIT | the shop opens on DAY | the NUMBER of
    MONTH is DET NOUN day
THERE: there is a ADJ NOUN PLACE | here are NUMBER NOUNS | here is OBJ for NAME
DET: my | your | his | her | our | their | this | every | another | each
NUMBER: FEW | FEW | TEEN | TENS | TENS UNIT | UNIT hundred | UNIT hundred TENS
FEW: two | three | four | five | six | seven | eight | nine
UNIT: one | two | three | four | five | six | seven | eight | nine
TEEN: ten | eleven | twelve | thirteen | fourteen | fifteen | sixteen | seventeen | eighteen | nineteen
TENS: twenty | thirty | forty | fifty | sixty | seventy | eighty | ninety
DAY: monday | tuesday | wednesday | thursday | friday | saturday | sunday
MONTH: january | february | march | april | may | june | july | august | september | october | november | december
NAME: anna | peter | maria | robert | julia | thomas | helen | david | susan | george | emma | victor | alice | henry | laura |
    oscar
PERSON: doctor | teacher | farmer | sailor | driver | brother | sister | mother | father | neighbour | painter | singer | guest
    | child | boy | girl | woman | man | judge | nurse | baker | writer
NOUN: house | garden | river | window | door | table | chair | letter | picture | bottle | basket | box | book | boat | train |
    bridge | tree | flower | bird | horse | dog | cat | fish | stone | lamp | clock | coat | shoe | hat | ring | key | knife |
    spoon | plate | cup | bread | butter | cheese | apple | orange | lemon | village | church | school | tower | castle | forest
    | mountain | valley | island | beach | road | market | kitchen | engine | wheel | bell | song | story | question | answer |
    paper | pencil | mirror | pillow | blanket | candle | ladder | hammer | shovel | wagon | bicycle | camera | violin | piano |
    cloud | shadow | path | pool | field | fence | gate
NOUNS: houses | gardens | windows | doors | tables | chairs | letters | pictures | bottles | baskets | boxes | books | boats |
    trees | flowers | birds | horses | dogs | cats | stones | lamps | clocks | coats | shoes | rings | keys | spoons | plates |
    cups | apples | oranges | songs | stories | questions | answers | papers | candles | children | friends | sheep | coins |
    miles | pages | tickets
ADJ: old | young | small | large | heavy | light | dark | bright | quiet | noisy | red | green | blue | yellow | white | brown |
    golden | silver | wooden | broken | empty | full | warm | cold | cheap | strange | happy | tired | gentle | clever | narrow
    | wide | smooth | rough | fresh | famous | tiny | huge | thin | thick
PAST: found | carried | opened | closed | painted | watched | bought | sold | lost | moved | washed | cleaned | loved |
    remembered | forgot | brought | took | kept | saw | heard | described | measured | covered | fixed | visited | passed |
    chose | noticed | built
WENT: walked | travelled | hurried | waited | slept | sat | stood | worked | played | stayed | danced | jumped
DO: open | close | bring | take | find | carry | clean | move | watch | draw | describe | paint | fix | wash | keep | choose |
    read | sell | buy | hide | show | touch | throw | check | measure
ADV: slowly | quickly | quietly | always | often | sometimes | usually | carefully | suddenly | finally | again
PLACE: in the NOUN | on the NOUN | under the NOUN | behind the NOUN | near the NOUN | beside the NOUN | at the NOUN | from the
    NOUN | with the NOUN | across the NOUN | through the NOUN | between the NOUNS | above the NOUN | along the NOUN | around the
    NOUN
WHEN: yesterday | today | tomorrow | on DAY | in MONTH | in the morning | in the evening | at night | before noon | after lunch
    | last week | next year | this afternoon | during the winter | all summer
CONJ: and | but | because | while | before | after | when | although | until
"""
GRAMMAR = {
    name: [choice.split() for choice in text.split("|")]
    for name, text in re.findall(r"^([A-Z]+):(.*(?:\n    .*)*)", RULES, flags=re.MULTILINE)
}
TOPICS = {"everyday": "SENTENCE", "numbers": "NUMBERS"}  # and the rules that they begin with
LONGEST = 18  # words; longer draws are drawn again


def vocabulary() -> list[str]:
    """All words of the grammar, sorted."""
    return sorted({word for choices in GRAMMAR.values() for choice in choices for word in choice if word not in GRAMMAR} | {"an"})


def sentence(rng: Random, topic: str = "everyday") -> list[str]:
    """Draw a sentence of 2 to 18 words, about anything (`everyday`) or of some forty words about numbers (`numbers`)."""
    while len(words := articles(expand(TOPICS[topic], rng))) > LONGEST:
        pass
    return words


def expand(symbol: str, rng: Random) -> list[str]:
    """The words of a rule, drawn; a word stands for itself."""
    if symbol not in GRAMMAR:
        return [symbol]
    choices = GRAMMAR[symbol]
    return [word for part in choices[int(rng.random() * len(choices))] for word in expand(part, rng)]


def articles(words: list[str]) -> list[str]:
    """`a` becomes `an` before a vowel (of our words, no others sound so)."""
    pairs = zip(words, [*words[1:], ""], strict=True)
    return ["an" if word == "a" and after[:1] in tuple("aeiou") and after else word for word, after in pairs]
