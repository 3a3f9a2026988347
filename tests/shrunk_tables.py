"""Words that shrink the configs of tables, and small tables in the forms that they read."""

import numpy as np
import pandas

from whole_path import SHORT

FEW = "--data.batch 16 --data.eval-batch 20 --optim.peak-lr 1e-2"
NUMBERS = f"{FEW} --model.features.size 4 --model.features.width 4"
TABLES = {
    "mlp_housing": f"{NUMBERS} --model.hidden 16 --run.ema 0.5",
    "ft_transformer_housing": f"{NUMBERS} --model.heads 2 --model.depth 1 --run.ema 0.5"
    " --data.folds 4 --optim.weight-decay 0.01",
    "curve_1_10_1": "--data.count 40 --data.batch 32 --data.eval-batch 20",
}
INCOMES = {
    "mlp_adult": f"{NUMBERS} --model.hidden 16 --run.ema 0.5",
    "wide_and_deep_adult": f"{NUMBERS} --model.hidden 16 --run.ema 0.5",
    "dlrm_adult": f"{NUMBERS} --model.bottom 8 --model.hidden 16 --run.ema 0.5",
    "ft_transformer_adult": f"{NUMBERS} --model.heads 2 --model.depth 1 --run.ema 0.5",
}
HOUSE = {"longitude": -120.5, "latitude": 36.25, "housing_median_age": 41, "total_rooms": 880, "total_bedrooms": None}
HOUSE |= {"population": 322, "households": 126, "median_income": 8.3252, "ocean_proximity": "INLAND"}


def table_words(name, tmp_path):
    """The words that shrink a config; a house costs more by the sea, and who is older and works more earns more."""
    if name == "curve_1_10_1":
        return [*TABLES[name].split(), *SHORT]
    if name in TABLES:
        path = tmp_path / "housing.csv"
        path.write_text(houses(80))
        return [*TABLES[name].split(), *SHORT, "--data.train-file", str(path)]
    for file, skipped, end, seed in (("adult.data", "", "", 0), ("adult.test", "|1x3 Cross validator\n", ".", 1)):
        (tmp_path / file).write_text(skipped + people(80, end, seed) + "\n")
    files = ["--data.train-file", str(tmp_path / "adult.data"), "--data.eval-file", str(tmp_path / "adult.test")]
    return [*INCOMES[name].split(), *SHORT, *files]


def houses(count):
    """A table of houses, with missing numbers of bedrooms."""
    random = np.random.default_rng(0)
    lines = ["longitude,latitude,housing_median_age,total_rooms,total_bedrooms,population,households,median_income,"]
    lines[0] += "median_house_value,ocean_proximity"
    for number in range(count):
        longitude, latitude, income = -122 + 4 * random.random(), 34 + 4 * random.random(), 1 + 9 * random.random()
        rooms, people_there = random.integers(10, 5000), random.integers(10, 3000)
        where = "INLAND" if longitude > -120 else ("NEAR BAY", "ISLAND")[number % 2]
        value = 30000 * income + (150000 if where != "INLAND" else 0) + 10000 * random.random()
        bedrooms = "" if number % 9 == 0 else rooms // 5
        numbers = f"{longitude:.2f},{latitude:.2f},{number % 50}.0,{rooms},{bedrooms},{people_there},{rooms // 6}"
        lines.append(f"{numbers},{income:.4f},{value:.1f},{where}")
    return "\n".join(lines) + "\n"


def house_frame(count):
    """The same table as a pandas frame of numbers and texts."""
    names, *rows = (line.split(",") for line in houses(count).splitlines())
    texts = names.index("ocean_proximity")
    read = [[cell if place == texts else float(cell or "nan") for place, cell in enumerate(row)] for row in rows]
    return pandas.DataFrame(read, columns=names)


def people(count, end, seed):
    """A table without names of columns, as Adult's files are."""
    random = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        age, hours, years = (int(random.integers(*ends)) for ends in ((17, 80), (5, 70), (4, 16)))
        rich = age * hours * years + 5000 * random.random() > 18000
        work = ("Private", "State-gov", "?")[number % 3]
        cells = [age, work, random.integers(10**4, 10**6), f"school {years}", years, ("Married", "Single")[number % 2]]
        cells += ["Sales", "Husband", "White", ("Male", "Female")[number % 2], 0 if number % 7 else 2174]
        cells += [0 if number % 5 else 1902, hours, ("Cuba", "Peru")[number % 2], (">50K" if rich else "<=50K") + end]
        lines.append(", ".join(map(str, cells)))
    return "\n".join(lines) + "\n"


def table_rows(name):
    """Two rows to predict for, the second with a category that training did not have."""
    if name == "curve_1_10_1":
        return [{"x": 0.5}, {"x": "-0.25", "more": 1}]
    if name in TABLES:
        return [HOUSE, {**HOUSE, "ocean_proximity": "MOON", "total_rooms": 5e3}]
    names = "age workclass fnlwgt education education_num marital_status occupation relationship race sex capital_gain"
    cells = [38, "Private", 215646, "school 9", 9, "Single", "Sales", "Husband", "White", "Male", 0, 0, 40, "Cuba"]
    row = dict(zip([*names.split(), "capital_loss", "hours_per_week", "native_country"], cells, strict=True))
    return [row, {**row, "native_country": "Atlantis"}]
