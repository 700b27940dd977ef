// Command tranquil-updater-application updates applications: components that
// are programs running as processes of their own. tranquil-agent starts it.
package main

import (
	"fmt"
	"os"

	"github.com/tranquil-iot/tranquil/plugins/application/internal/exec"
	"github.com/tranquil-iot/tranquil/plugins/application/internal/systemd"
	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// version is set when the updater is built.
var version = "0.0.0-dev"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("tranquil-updater-application", version)
		return
	}
	// The supervisors of the components are this program too.
	if len(os.Args) == 3 && os.Args[1] == service.SuperviseArg {
		os.Exit(supervisor.Run(os.Args[2]))
	}
	updater.Main(exec.Type, exec.Driver{Systemd: systemd.Device}.Open)
}
