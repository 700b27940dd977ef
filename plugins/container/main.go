// Command tranquil-updater-container updates containers. tranquil-agent starts it.
package main

import (
	"fmt"
	"os"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/container"
	"github.com/tranquil-iot/tranquil/plugins/container/internal/lxc"
	"github.com/tranquil-iot/tranquil/plugins/container/internal/mica"
	"github.com/tranquil-iot/tranquil/plugins/container/internal/oci"
	base "github.com/tranquil-iot/tranquil/plugins/internal/mica"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// version is set when the updater is built.
var version = "0.0.0-dev"

var driver = container.Driver{Engines: map[string]container.Engine{"lxc": lxc.Engine{}, "oci": oci.Engine{}}, Grants: container.GrantsFile}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println("tranquil-updater-container", version)
		return
	}
	if len(os.Args) == 3 { // what keeps containers running is this program too
		os.Exit(container.Run(os.Args[1], os.Args[2]))
	}
	updater.Main(container.Type, base.Or(mica.New, driver.Open))
}
