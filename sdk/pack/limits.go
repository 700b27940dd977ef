package pack

import (
	"math"
	"time"
)

// Limits of a package. They keep a hostile one from costing much before it is
// refused, and are far above what an honest one needs.
const (
	MaxManifestSize  = 1 << 20  // bytes of the OCI manifest
	MaxConfigSize    = 1 << 18  // bytes of the config blob
	MaxTransformSize = 16 << 20 // what the sandbox takes
	MaxSchemaSize    = 1 << 20  // bytes of a JSON Schema: what the sandbox takes
	MaxArtifactSize  = 1 << 40

	maxArtifacts      = 64
	maxTransforms     = 64
	maxLayers         = maxArtifacts + 2*maxTransforms // a transform may have a schema
	maxReferrers      = 16                             // of a package in a layout
	maxReferrerLayers = 16
	maxEntries        = 64 // of requires, files and params each
	maxText           = 4096
	maxParam          = 32 << 10 // bytes of a param: programs and SQL are
	maxParams         = 96 << 10 // bytes of the names and values of all params of a transform: what the sandbox takes
	maxInline         = 32 << 10 // bytes of a JSON Schema in an annotation; a longer one is a layer
	maxSchemas        = 4 << 20  // bytes of all JSON Schemas that are layers: an agent has those of a chain in memory
	maxPath           = 1024     // of a file in an artifact
	maxName           = 63
	maxVersion        = 64
	maxFileName       = 200
	maxSettings       = 1 << 17 // bytes of JSON
	maxDepth          = 32      // of nested JSON
	maxSchema         = math.MaxInt32
	maxDuration       = Duration(30 * 24 * time.Hour)
)
