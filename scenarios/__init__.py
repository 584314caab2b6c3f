"""Experiments: what is run, what is measured, what is reported.

From Python: `scenarios.schema.load` reads a scenario, `scenarios.run.prepare` makes a folder for it,
`scenarios.run.run` runs and measures it and `scenarios.run.measure` does that anew from its journal.
`scenarios.sweep.plan.Request` says what a sweep varies, `scenarios.sweep.work.sweep` carries it out,
`scenarios.curves.load.open_folder` and `scenarios.curves.page.write` make its curves. Tables are Parquet, for DuckDB
and pandas.
"""
