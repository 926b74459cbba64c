"""The words of the generated English: for each slot of a sentence, the senses that may fill it.

A sense is written in one or more wordings, which mean the same.
"""

Sense = tuple[str, ...]

# "|" separates senses, and "/" separates the wordings of one sense.
CONTRASTS = {
    "people": "doctors/physicians|lawyers/attorneys|workers/employees|managers/bosses"
    "|children/kids|robbers/thieves|students/pupils|reporters/journalists|authors/writers"
    "|soldiers/troops|policemen/cops|sailors/seamen|tourists/sightseers|teachers/instructors"
    "|farmers/growers|researchers/scientists|actors/performers|drivers/motorists"
    "|teenagers/adolescents|friends/pals|guards/sentries|cooks/chefs|voters/electors"
    "|shoppers/customers",
    "things": "cars/automobiles|trucks/lorries|ships/vessels|planes/aircraft|bikes/bicycles"
    "|movies/films|songs/tunes|pictures/photographs|houses/homes|shops/stores|sofas/couches"
    "|carpets/rugs|gifts/presents|stones/rocks|coats/jackets|purses/handbags|cups/mugs"
    "|sweets/candies|drugs/medicines|rifles/guns|cushions/pillows|maps/charts|graves/tombs"
    "|hotels/inns|boxes/crates|statues/sculptures|jars/pots",
    "did": "bought/purchased|found/discovered|lost/misplaced|destroyed/wrecked|repaired/fixed"
    "|gathered/collected|inspected/examined|displayed/exhibited|demanded/requested|mentioned/cited"
    "|protected/guarded|loved/adored|hated/loathed|moved/relocated|rented/leased"
    "|described/depicted",
    "act": "praised/commended|criticized/denounced|helped/assisted|attacked/assaulted"
    "|hired/recruited|dismissed/laid off|saved/rescued|deceived/tricked|called/phoned"
    "|followed/pursued|questioned/interrogated|met/encountered|supported/backed|opposed/resisted"
    "|scared/frightened",
    "mood": "cheerful/merry|sad/unhappy|rich/wealthy|poor/needy|sick/ill|clever/smart"
    "|famous/well-known|brave/courageous|tired/weary|angry/furious|polite/courteous|lazy/idle"
    "|stubborn/obstinate|hungry/starving|shy/timid|foolish/silly|loyal/faithful",
    "look": "huge/enormous|tiny/minuscule|expensive/costly|cheap/inexpensive|old/ancient"
    "|modern/contemporary|lovely/beautiful|ugly/hideous|strange/odd|broken/damaged|dirty/filthy"
    "|rare/uncommon|dangerous/unsafe|fake/counterfeit|empty/vacant|shiny/gleaming|heavy/weighty",
    "manner": "quickly/rapidly|slowly/gradually|quietly/silently|often/frequently|rarely/seldom"
    "|carefully/cautiously|suddenly/abruptly|openly/publicly|secretly/covertly|eagerly/keenly",
    "spot": "in the suburbs/on the outskirts|in the city centre/downtown|near the coast/by the sea"
    "|in the forest/in the woods|in the cellar/in the basement|abroad/overseas|in prison/in jail"
    "|in the garden/in the yard|in the attic/in the loft|near the border/close to the frontier",
    "after": "after a quarrel/after an argument|after a fire/after a blaze"
    "|after a storm/after a gale|after a feast/after a banquet|after a mistake/after an error"
    "|after a trip/after a journey|after a battle/after a fight|after an illness/after a disease"
    "|after a contest/after a competition|after an accident/after a crash"
    "|after a speech/after an address|after a meeting/after a conference",
    "period": "a decade/ten years|a century/100 years|a fortnight/two weeks|a day/24 hours"
    "|a year/twelve months|an hour/sixty minutes|a week/seven days",
    "ago": "a fortnight ago/two weeks ago|a decade ago/ten years ago|a century ago/100 years ago"
    "|a year ago/twelve months ago|a week ago/seven days ago",
    "daylight": "at noon/at midday|at dawn/at sunrise|at dusk/at sunset",
    "adore": "loved/adored|hated/loathed|ignored/neglected|discussed/debated",
    "approve": "approved/endorsed|rejected/turned down|delayed/postponed",
    "beat": "exceeded/surpassed|missed/fell short of",
    "build": "build/construct|demolish/tear down",
    "confirm": "confirmed/verified|disproved/refuted|repeated/restated",
    "convict": "convicted/found guilty|acquitted/cleared",
    "grow": "grew/expanded|shrank/contracted",
    "leave": "left/departed from|reached/arrived in",
    "raise": "raised/increased|cut/lowered",
    "rise": "rose/climbed|fell/dropped",
    "story": "film/movie|song/tune|novel/book|show/programme",
    "strong": "strong/powerful|weak/feeble|sudden/unexpected",
    "vow": "agreed/consented|refused/declined|promised/pledged",
    "win": "won/triumphed in|lost/were beaten in",
}

FILLERS = {
    "city": "Oslo|Porto|Lyon|Ghent|Turin|Leeds|Graz|Bergen|Cork|Malmo|Seville|Gdansk|Boston|Denver"
    "|Austin|Quebec|Osaka|Lima|Nairobi|Dakar|Perth|Hanoi|Tunis|Quito",
    "company": "Norvik|Halden Steel|Brightwater|Orion Foods|Castell Bank|Marlow Energy|Pinecrest"
    "|Delta Paper|Sunfield|Kestrel Air|Redwood Media|Atlas Motors|Bluestone|Tarn Textiles",
    "source": "officials|the police|local radio|two witnesses|a spokesman|the mayor|residents"
    "|a newspaper|the agency|experts",
    "person": "Maria Lopez|Peter Novak|Anna Berg|Samuel Reed|Grace Okafor|Ivan Petrov|Laura Chen"
    "|Thomas Klein|Fatima Haddad|Oscar Lind|Julia Rossi|Daniel Moore|Nina Patel|Victor Silva",
    "trade": "the nurse|the pilot|the baker|the dentist|the farmer|the painter|the singer"
    "|the judge|the plumber|the tailor|the coach|the gardener|the architect|the journalist"
    "|the butcher|the sailor|the senator|the violinist|the chemist",
    "teams": "the Falcons|the Rovers|the Tigers|the Wanderers|the Hornets|the Mariners|the Wolves"
    "|the Giants|the Comets|the Bulldogs|the Pirates|the Saints",
    "skill": "chess|Spanish|carpentry|photography|sailing|algebra|juggling|pottery|Arabic|fencing",
    "deed": "the speech|the new design|the long report|the charity concert|the repair work",
    "place": "bridge|tower|museum|library|stadium|castle|harbour|theatre|hospital|market",
    "events": "the storm reached the coast|the bridge was closed|the band left the stage"
    "|the votes were counted|the power went out|the train pulled in|the bakery opened its doors"
    "|the lawyer called the bank|the ferry sailed|the museum sold the statue|the rain stopped"
    "|the engineers tested the dam|the minister resigned|the students cleaned the hall"
    "|the court released the files|the fans lit candles|the airport cancelled the flights",
}

MONTHS = ("March", "June", "August", "October")
UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
)
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh"


def _number_words(n: int) -> str:
    if n < 20:
        return UNITS.split()[n]
    tens = TENS.split()[n // 10 - 2]
    return f"{tens}-{_number_words(n % 10)}" if n % 10 else tens


def _hour_senses() -> tuple[Sense, ...]:
    halves = (("a.m.", "in the morning", range(5, 12)), ("p.m.", "in the afternoon", range(1, 6)))
    return tuple(
        (f"at {hour} {short}", f"at {_number_words(hour)} {long}")
        for short, long, hours in halves
        for hour in hours
    )


def _date_senses(month: str) -> tuple[Sense, ...]:
    return tuple(
        (f"on {month} {day}", f"on the {ordinal} of {month}")
        for day, ordinal in enumerate(ORDINALS.split(), start=1)
    )


def _all_slots() -> dict[str, tuple[Sense, ...]]:
    slots = {
        name: tuple(tuple(sense.split("/")) for sense in text.split("|"))
        for name, text in (CONTRASTS | FILLERS).items()
    }
    slots["n"] = tuple((str(n), _number_words(n)) for n in range(2, 61))
    slots["hour"] = _hour_senses()
    return slots | {month: _date_senses(month) for month in MONTHS}


SLOTS = _all_slots()
