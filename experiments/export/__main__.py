from experiments.runtime.process_settings import prepare_process

prepare_process()  # before torch is imported

from experiments.export.export import main  # noqa: E402

if __name__ == "__main__":
    main()
