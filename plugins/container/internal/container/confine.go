package container

// KeptCapabilities are those that a container has whose root is root, without
// their prefix. They let it manage its own files, users and processes, and nothing
// of the device.
var KeptCapabilities = []string{
	"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "AUDIT_WRITE", "SETFCAP",
}

// DeniedCalls are system calls that reach out of a container: modules and kernels
// of the device, files by handle, its keys and what is measured of it.
var DeniedCalls = []string{
	"kexec_load", "kexec_file_load", "open_by_handle_at", "init_module", "finit_module", "delete_module",
	"bpf", "perf_event_open", "add_key", "request_key", "keyctl",
}
