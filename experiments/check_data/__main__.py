from experiments.runtime.process_settings import prepare_process

prepare_process()  # before torch is imported

from experiments.check_data.check import main  # noqa: E402

if __name__ == "__main__":
    main()
