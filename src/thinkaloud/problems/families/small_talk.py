"""What people say to a model that is not one of its problems: the inputs of the family talk, put together at random.

Knows: greetings, thanks, questions about the model, questions of the wide world, other languages, noise, and what is
almost a problem. Doesn't know: what is answered.
"""

import random
import string

from thinkaloud.problems.families.stories import made_up

GREETINGS = tuple(
    "hello,hi,hey,hi there,hello there,good morning,good evening,good day,greetings,yo,howdy,hallo,guten Tag,bonjour,"
    "salut,hola,ciao,ola,hej,servus,good afternoon,hiya,hey there,moin,hello again,welcome back,"
    "how are you,how do you do,what's up,nice to meet you,how is it going".split(",")
)
GOODBYES = tuple(
    "bye,goodbye,good night,see you,see you later,so long,bye bye,farewell,until tomorrow,take care,I have to go,"
    "that is all,I am done,quit,exit,stop,tschüss,auf Wiedersehen,au revoir,adiós,ciao ciao,have a nice day,cu".split(",")
)
TO_WHOM = ("", "", "", " thinkaloud", " friend", " model", " computer", " everybody", " you", " my dear", " bot")
THANKS = tuple(
    "thanks,thank you,thank you very much,many thanks,thanks a lot,cheers,great,well done,good job,nice,perfect,cool,"
    "that is right,correct,ok,okay,danke,merci,gracias,grazie,obrigado,wonderful,excellent,good,very good,I see,got it,"
    "thx,bravo,brilliant,yes,fine,awesome,that helps,much appreciated,amazing".split(",")
)
AFTER_THANKS = ("", "", "", " for your help", " thinkaloud", " for that", " indeed", " so much", " again", " my friend")
ABOUT = tuple(
    "who are you,what are you,what can you do,what do you know,what is your name,who made you,how do you work,help,"
    "are you a human,are you a robot,what kind of model are you,how big are you,tell me about yourself,introduce yourself,"
    "what have you learnt,what can I ask you,how can you help me,what are you good at,are you ChatGPT,can you think,"
    "what problems do you know,give me an example,what is thinkaloud,are you an AI,do you have a name,what should I ask,"
    "describe yourself,how many parameters do you have,what were you trained on,can you help me,wer bist du,"
    "was kannst du,qui es-tu,que sais-tu faire,quien eres,chi sei,what is this,how were you trained".split(",")
)
BEFORE_ABOUT = ("", "", "", "", "please say: ", "so, ", "well, ", "hello, ", "I wonder, ", "tell me, ", "hi! ", "now ")
TOPICS = tuple(
    "France,Germany,Japan,Peru,Kenya,London,the moon,the sun,Mars,a cat,dogs,love,war,history,physics,chemistry,football,"
    "music,Mozart,Einstein,Shakespeare,Napoleon,the sea,winter,bread,soup,coffee,tea,wine,cheese,a car,a bicycle,trains,"
    "money,banks,taxes,the law,a house,gardens,roses,trees,birds,whales,dinosaurs,the brain,sleep,dreams,fear,health,"
    "fever,a cold,vitamins,sport,chess,cards,computers,Python,Linux,the internet,telephones,radio,films,books,poems,"
    "novels,painting,museums,churches,God,philosophy,Plato,time,space,gravity,light,atoms,water,fire,gold,iron,glass,"
    "paper,clothes,shoes,weddings,children,school,teachers,my mother,my boss,a friend,elections,kings,the president,"
    "climate,rain,snow,storms,volcanoes,rivers,mountains,islands,Africa,Asia,Europe,Spain,Italy,China,India,Brazil".split(",")
)
WORLD = tuple(
    "What is the capital of {};Who discovered {};Why is {} so popular;How does {} work;Tell me about {};Tell me a joke about {};"
    "Write a poem about {};Write an email to {};When was {} invented;Where can I find {};Explain {} to a child;"
    "Translate {} into German;What is the meaning of {};Is {} better than {};What do you think of {};I like {};I hate {};"
    "How do I cook {};How old is {};How tall is {};How far is it from {} to {};Who is the president of {};"
    "What is the weather in {};Should I buy {};Summarise {};My problem is {};Give me advice about {};Do you like {};"
    "What colour is {};Which is the best {};Name three kinds of {};List all {};What happened to {} in 1914;"
    "How many people live in {};How much does {} cost;What is {};Who is {};Where is {};Can you sing about {};"
    "Write a program that draws {};Fix my code about {};Why do people fear {};Let us talk about {};Search the web for {};"
    "What time is it in {};I am sad because of {};Remind me of {} tomorrow;Play {};How do you spell {};Compare {} and {};"
    "Is it true that {} is dangerous;Define {};Continue the story: once upon a time there was {};What rhymes with {};"
    "Who won the match in {};Recommend a film about {};Draw {};Open {};Book a flight to {};Prove that {} exists;"
    "Does {} need {};Are {} and {} friends;What would happen without {};Describe {};I have lost {};Sell me {}".split(";")
)
LANGUAGES = tuple(
    "Was ist die Hauptstadt von {};Wie wird das Wetter morgen in {};Erzähl mir etwas über {};Warum ist {} so teuer;"
    "Ich habe sieben Äpfel und esse zwei, wie viele bleiben;Schreib mir ein Gedicht über {};Wo finde ich {};"
    "Quelle est la capitale de {};Pourquoi {} est-il célèbre;Raconte-moi une histoire de {};Combien coûte {};"
    "J'ai sept pommes, combien en reste-t-il;Cuál es la capital de {};Por qué existe {};Cuéntame algo de {};"
    "Dónde está {};Tengo cinco libros y compro tres, cuántos tengo;Qual è la capitale di {};Perché {} è famoso;"
    "Dimmi qualcosa su {};Quanto costa {};Qual é a capital de {};Onde fica {};Fala-me de {};Wat is de hoofdstad van {};"
    "Waarom is {} belangrijk;Vertel me iets over {};Vad är {};Var ligger {};Hvad er {};Mikä on {};Co to jest {};"
    "Gdzie jest {};Türkiye'nin başkenti neresi;Nasılsın;Bu nedir {};Какая столица {};Что такое {};Расскажи о {};"
    "Как дела;Ποια είναι η πρωτεύουσα;Τι είναι {};Як справи;Що це {};中国的首都是哪里;你好吗;请告诉我关于{};日本の首都はどこですか;"
    "{}とは何ですか;元気ですか;한국의 수도는 어디입니까;{}은 무엇입니까;ما هي عاصمة {};كيف حالك;מה שלומך;מהי הבירה של {};{} क्या है;"
    "भारत की राजधानी क्या है;Ce este {};Mi az a {};Kde je {};Hol van {};{} คืออะไร;Thủ đô của {} là gì".split(";")
)
SNIPPETS = tuple(
    "print('{}');SELECT * FROM {};<b>{}</b>;https://www.{}.com/;def {}(): pass;{}@mail.org;for (i = 0; i < n; i++);$ ls -la {};"
    "import {};x = {};#{};{}?;{}!;... {};{{'a': '{}'}};# {};C:\\{};1. {} 2. {};[{}];*{}*".split(";")
)
ENDS = ("", "", ".", "!", "?", "...", "!!", " :)", "?!")
NAMES = ("Mia", "Ben", "Zoe", "Tom", "Anna", "Paul")
THINGS = ("beads", "cards", "coins", "apples", "books", "nuts")


def greeting(rng: random.Random) -> str:
    """Hello, or how are you."""
    both = rng.choice(GREETINGS) + (rng.choice((", ", " ", "! ")) + rng.choice(GREETINGS) if rng.random() < 0.2 else "")
    return _said(both + _called(rng, TO_WHOM), rng)


def goodbye(rng: random.Random) -> str:
    """The end of a conversation."""
    before = rng.choice(("", "", "", "ok, ", "well, ", "thanks, ", "now "))
    return _said(before + rng.choice(GOODBYES) + _called(rng, TO_WHOM), rng)


def thanks(rng: random.Random) -> str:
    """Thanks and praise."""
    both = rng.choice(THANKS) + (rng.choice((", ", ". ", " ")) + rng.choice(THANKS) if rng.random() < 0.3 else "")
    return _said(both + _called(rng, AFTER_THANKS), rng)


def about(rng: random.Random) -> str:
    """Questions about the model itself."""
    ends = ("", "", ", please", ", thinkaloud", ", model", " exactly", " really", ", my friend", f", {made_up(rng)}")
    return _said(rng.choice(BEFORE_ABOUT) + rng.choice(ABOUT) + rng.choice(ends), rng)


def world(rng: random.Random) -> str:
    """Questions and sentences about anything else."""
    return _said(_filled(rng.choice(WORLD), rng), rng)


def language(rng: random.Random) -> str:
    """The same in other languages."""
    return _said(_filled(rng.choice(LANGUAGES), rng), rng)


def near_miss(rng: random.Random) -> str:
    """Almost a problem of some family: too large, too many, something missing, or of another kind."""
    name, things = rng.choice(NAMES), rng.choice(THINGS)
    low, high, big = rng.randint(2, 20), rng.randint(10, 999), rng.randint(10_000, 10**9)
    many = " ".join(str(rng.randint(1, 30)) for _ in range(rng.randint(5, 9)))
    swaps = " ".join("".join(rng.sample("ABCDEFGH", 2)) for _ in range(rng.randint(3, 8)))
    changes = ", ".join(f"{rng.choice(('finds', 'loses', 'buys'))} {rng.randint(1, 9)}" for _ in range(rng.randint(11, 16)))
    words = f"{name} has {low} {things}: finds 3, loses 2. How many?".split()
    return rng.choice(
        (
            f"What is {big} {rng.choice('+-x')} {rng.randint(10_000, 10**9)}?",
            f"What is {high} {rng.choice(('/', 'divided by', ':', '^', 'mod'))} {low}?",
            f"What is {low}.{rng.randint(1, 99)} {rng.choice('+-x')} {high}.{rng.randint(1, 9)}?",
            f"What is {high} x {rng.randint(11, 999)}?",
            f"What is the {rng.choice(('square root', 'sine', 'half', 'logarithm', 'cube'))} of {high}?",
            f"What is {low} % of {high}?",
            f"Solve {low}{rng.choice('xyz')} + {high} = {big}",
            f"Integrate x^{low} from 0 to {high}",
            f"{name} has {low} {things}.",
            f"How many {things} does {name} have?",
            f"{name} has {low} {things}: {changes}. How many?",
            f"{name} has {low} {things} and {rng.choice(NAMES)} has twice as many. How many together?",
            f"{name} shares {high} {things} among {low} friends. How many does each get?",
            f"Red under A, blue under B, green under C. Swap {swaps}. Where now?",
            f"Swap {swaps}. Where now?",
            f"Make {big} from {many}.",
            f"Make {low} from {many}.",
            f"{many}: which three make {high}?",
            f"Sort {many}",
            f"What is the mean of {many}?",
            f"{name} is left of {rng.choice(NAMES)}.",
            f"Who is the tallest of {', '.join(rng.sample(NAMES, 3))}?",
            f"Is {high} a prime number?",
            f"Convert {high} to {rng.choice(('binary', 'miles', 'euros', 'hours', 'Roman numerals'))}",
            f"Count to {high}",
            f"Write f(x): {made_up(rng)} it, then {made_up(rng)}.",
            f"Spell {made_up(rng)}",
            " ".join(rng.sample(words, len(words))),
            " ".join(words[: rng.randint(2, 4)]),
        )
    )


def noise(rng: random.Random) -> str:
    """Keys struck at random, single words, numbers, code, signs."""
    kind = rng.randrange(7)
    if kind == 0:
        return "".join(rng.choices(string.ascii_lowercase + " ", k=rng.randint(3, 25))).strip() or "x"
    if kind == 1:
        return " ".join(made_up(rng) for _ in range(rng.randint(1, 5)))
    if kind == 2:
        return " ".join(str(rng.randint(0, 10 ** rng.randint(1, 5))) for _ in range(rng.randint(1, 5)))
    if kind == 3:
        return "".join(rng.choices(string.printable[:94], k=rng.randint(2, 20)))
    if kind == 4:
        return _filled(rng.choice(SNIPPETS), rng)
    if kind == 5:
        return rng.choice(TOPICS) + rng.choice(ENDS)
    return "".join(rng.choices("🙂😀🎉🚀❤🤖é€ß漢字あ한", k=rng.randint(1, 5)))


def long(rng: random.Random) -> str:
    """Several of those on lines or in a row."""
    parts = [rng.choice((world, world, language, noise, near_miss, greeting))(rng) for _ in range(rng.choice((2, 2, 3, 4, 7)))]
    parts[0] = world(rng)
    return rng.choice((" ", "\n", ". ", "\n\n")).join(parts)


def _called(rng: random.Random, names: tuple[str, ...]) -> str:
    return f" {made_up(rng).capitalize()}" if rng.random() < 0.25 else rng.choice(names)


def _filled(template: str, rng: random.Random) -> str:
    while "{}" in template:
        filler = made_up(rng) if rng.random() < 0.35 else rng.choice(TOPICS)
        template = template.replace("{}", filler, 1)
    return template


def _said(text: str, rng: random.Random) -> str:
    """In any case, with any end, now and then with a slip of the keys."""
    kind = rng.random()
    if kind < 0.3:
        text = text.lower()
    elif kind < 0.35:
        text = text.upper()
    elif kind < 0.8:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.12 and len(text) > 5:
        place = rng.randrange(1, len(text) - 1)
        text = text[:place] + rng.choice((text[place + 1 :], text[place] + text[place:], rng.choice("aeimnrst ") + text[place:]))
    return (text + rng.choice(ENDS)).strip()
