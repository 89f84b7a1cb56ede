"""Writes dates.tsv: dates as people write them, and as ISO 8601 has them."""

import random
from datetime import date, timedelta
from pathlib import Path

FIRST, DAYS, COUNT = date(1970, 1, 1), 21_915, 5_000  # 60 years
FORMS = (
    "{month} {day}, {year}",
    "{day} {month} {year}",
    "{weekday}, {month} {day}, {year}",
    "{day} {short} {year}",
    "{short} {day} {year}",
    "{number}/{day}/{two:02}",
    "{number}/{day}/{year}",
    "{day}.{number}.{year}",
    "{year}年{number}月{day}日",
)
CASES = (str, str, str.lower, str.upper)


def written(day: date, form: str) -> str:
    """A date in one of the forms."""
    return form.format(
        month=day.strftime("%B"),
        short=day.strftime("%b"),
        weekday=day.strftime("%A"),
        number=day.month,
        day=day.day,
        year=day.year,
        two=day.year % 100,
    )


def main() -> None:
    """Write the file beside this one."""
    random.seed(0)
    pairs: dict[str, str] = {}
    while len(pairs) < COUNT:
        day = FIRST + timedelta(random.randrange(DAYS))
        text = random.choice(CASES)(written(day, random.choice(FORMS)))
        pairs[text] = day.isoformat()
    lines = ["written\tiso", *(f"{text}\t{iso}" for text, iso in pairs.items())]
    Path(__file__).with_name("dates.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
