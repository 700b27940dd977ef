package updater

import (
	"log/slog"
	"os"
)

// The environment variables of an updater process. Besides these it gets PATH
// and what go-plugin's handshake needs, nothing of the agent's own.
const (
	envData = "TRANQUIL_UPDATER_DATA"
	envRun  = "TRANQUIL_UPDATER_RUN"
	envLink = "TRANQUIL_LINK"
)

// Environment is what the agent gives an updater to work with.
type Environment struct {
	Data   string       // directory that is the updater's own, durable
	Run    string       // directory for unix sockets, short, emptied at boot
	Link   string       // the agent's unix socket, meant for components
	Logger *slog.Logger // into the agent's log
}

// environment reads the Environment from the process's variables.
func environment() Environment {
	return Environment{
		Data:   os.Getenv(envData),
		Run:    os.Getenv(envRun),
		Link:   os.Getenv(envLink),
		Logger: slog.New(newLogHandler(os.Stderr)),
	}
}
