package host

// wasiModule is the only module that a transform may import from.
const wasiModule = "wasi_snapshot_preview1"

// wasi lists the functions a transform may import, with their types as
// parameters and results (i: i32, I: i64). They reach arguments, environment,
// standard streams, clock and random numbers; files and sockets are missing.
var wasi = map[string]string{
	"args_get":            "ii:i",
	"args_sizes_get":      "ii:i",
	"clock_res_get":       "ii:i",
	"clock_time_get":      "iIi:i",
	"environ_get":         "ii:i",
	"environ_sizes_get":   "ii:i",
	"fd_close":            "i:i",
	"fd_fdstat_get":       "ii:i",
	"fd_fdstat_set_flags": "ii:i",
	"fd_filestat_get":     "ii:i",
	"fd_prestat_dir_name": "iii:i",
	"fd_prestat_get":      "ii:i",
	"fd_read":             "iiii:i",
	"fd_seek":             "iIii:i",
	"fd_write":            "iiii:i",
	"poll_oneoff":         "iiii:i",
	"proc_exit":           "i:",
	"random_get":          "ii:i",
	"sched_yield":         ":i",
}
