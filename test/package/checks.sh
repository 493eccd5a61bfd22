# Checks the package as its users get it: packed, linted, installed into empty apps and used there.
# .ci/run sources this file. It provides `check` and $tmp, an empty directory outside of the repository.

check_package () {
  check 'npm pack' pack
  check 'publint' node_modules/.bin/publint run "$tmp/package.tgz" --strict
  # The ignored rule says that CommonJS cannot require() an ES module. From Node.js 20.19 on it can, as the CommonJS app below tests
  check 'attw' node_modules/.bin/attw "$tmp/package.tgz" --ignore-rules cjs-resolves-to-esm --format ascii --no-emoji
  check 'an ESM app' run_app module esm-app.mjs
  check 'a CommonJS app' run_app commonjs cjs-app.cjs
  check 'source maps' node test/package/source-maps.mjs "$tmp/module/node_modules/fastify-websocket-async"
  check 'an app in TypeScript' install_types_app
  check 'declarations, module nodenext' compile_types_app nodenext
  check 'declarations, moduleResolution bundler' compile_types_app bundler
}

pack () {
  npm pack --pack-destination "$tmp" && mv "$tmp"/fastify-websocket-async-*.tgz "$tmp/package.tgz"
}

# Prints a package with the version range that our own tests use
dev_dependency () {
  node -p 'process.argv[1] + "@" + require("./package.json").devDependencies[process.argv[1]]' "$1"
}

# install_app <commonjs|module> <directory> <package>...
install_app () {
  local type=$1 app=$2
  shift 2
  mkdir "$app" && echo "{ \"private\": true, \"type\": \"$type\" }" > "$app/package.json" &&
    npm install --prefix "$app" --no-audit --no-fund "$tmp/package.tgz" "$@"
}

run_app () {
  local type=$1 script=$2 app=$tmp/$1
  install_app "$type" "$app" "$(dev_dependency fastify)" "$(dev_dependency ws)" &&
    cp "test/package/$script" test/package/conversation.cjs "$app" &&
    timeout 60 node "$app/$script"
}

# Does not install the types of ws, because they have to come with the package
install_types_app () {
  install_app module "$tmp/types" \
    "$(dev_dependency fastify)" "$(dev_dependency typescript)" "$(dev_dependency @types/node)" &&
    cp test/package/consumer/* "$tmp/types"
}

compile_types_app () {
  "$tmp/types/node_modules/.bin/tsc" -p "$tmp/types/tsconfig.$1.json"
}
