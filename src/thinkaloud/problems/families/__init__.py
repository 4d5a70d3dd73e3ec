"""The registry: adding a family is one file here and one line below.

Knows: which families there are. Doesn't know: how any of them works.
"""

from thinkaloud.problems.families.bot import Bot
from thinkaloud.problems.families.calls import Calls
from thinkaloud.problems.families.chains import Chains
from thinkaloud.problems.families.countdown import Countdown
from thinkaloud.problems.families.cups import Cups
from thinkaloud.problems.families.gym import ChainSum, GreatestCommonDivisor, SpellBackward
from thinkaloud.problems.families.gym_legs import LegCounting
from thinkaloud.problems.families.orders import Orders
from thinkaloud.problems.families.pairs import Pairs
from thinkaloud.problems.families.places import Places
from thinkaloud.problems.families.programs import Programs
from thinkaloud.problems.families.scales import Scales
from thinkaloud.problems.families.stories import Stories
from thinkaloud.problems.families.sums import Sums
from thinkaloud.problems.families.talk import Talk
from thinkaloud.problems.types import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Cups(),
        Chains(),
        Bot(),
        Pairs(),
        Scales(),
        Programs(),
        Orders(),
        Calls(),
        ChainSum(),
        GreatestCommonDivisor(),
        LegCounting(),
        SpellBackward(),
        Sums(),
        Stories(),
        Places(),
        Countdown(),
        Talk(),
    )
}
