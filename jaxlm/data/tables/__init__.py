"""Tables: rows of numbers, categories, dates and truth values, from CSV, Parquet and JSON lines."""

from jaxlm.data.tables.schema import Schema
from jaxlm.data.tables.specs import ClassTable, RegressionTable
from jaxlm.data.tables.table import Table

__all__ = ["ClassTable", "RegressionTable", "Schema", "Table"]
