"""`python -m experiments.predict`."""

from experiments.runtime.process_settings import prepare_process

prepare_process()

from experiments.predict.predict import main  # noqa: E402 - after the settings, before which torch is not imported

main()
