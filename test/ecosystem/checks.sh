# Checks the packed plugin with what people use it with: libraries, other runtimes, and the next versions of Fastify.
# .ci/run sources this file after test/package/checks.sh, from which it uses `pack` and `install_app`.

check_ecosystem () {
  [[ -f $tmp/package.tgz ]] || check 'npm pack' pack
  check_libraries
  check_runtimes
  inform_of_newest || true # a failure of it does not fail the run
}

check_libraries () {
  local name
  check 'npm install of the libraries' install_libraries
  for name in test/ecosystem/*.mjs; do
    name=$(basename "$name" .mjs)
    [[ $name == app ]] || check "an app with $name" timeout 30 node "$tmp/ecosystem/$name.mjs"
  done
}

# Their versions are in test/ecosystem/package.json, because they are too large for devDependencies, which every contributor installs
install_libraries () {
  mkdir "$tmp/ecosystem" && cp test/ecosystem/* "$tmp/ecosystem" &&
    npm install --prefix "$tmp/ecosystem" --no-audit --no-fund "$tmp/package.tgz" "$(dev_dependency fastify)" "$(dev_dependency ws)"
}

# The packages `bun` and `deno` download their binaries in install scripts, which npm may be configured not to run. These packages
# contain the binaries
bun_package () {
  node -p '({ x64: "@oven/bun-linux-x64-baseline", arm64: "@oven/bun-linux-aarch64" })[process.arch]'
}

deno_package () {
  node -p '`@deno/linux-${process.arch}-glibc`'
}

check_runtimes () {
  local app=$tmp/runtimes
  check 'npm install of Bun and Deno' install_app module "$app" \
    "$(dev_dependency fastify)" "$(dev_dependency ws)" "$(bun_package)" "$(deno_package)"
  cp test/package/{esm-app.mjs,conversation.cjs} "$app"
  check 'an app on Bun' run_in "$app" "$app/node_modules/$(bun_package)/bin/bun" esm-app.mjs
  check 'an app on Deno' run_in "$app" "$app/node_modules/$(deno_package)/deno" run --allow-all --node-modules-dir=manual esm-app.mjs
}

# run_in <directory> <command>...
run_in () (
  cd "$1" && timeout 60 "${@:2}"
)

# Reports how the plugin works with the newest versions. A failure does not count
inform_of_newest () {
  local fastify node
  fastify=$(newest fastify 6)
  node=$(newest_node 24) # Fastify 6 needs 22
  [[ -d $tmp/node$node ]] || install_node "$node" > /dev/null
  PATH="$tmp/node$node/node_modules/.bin:$PATH" inform "Fastify $fastify, Node.js $node" try_package fastify "$fastify"
  inform "@fastify/websocket $(npm view @fastify/websocket version)" try_package @fastify/websocket latest
}

# inform <name> <command>...
inform () {
  local name=$1
  printf '\n# for information: %s\n' "$name"
  if ("${@:2}") > "$tmp/informative" 2>&1; then
    echo "# $name: passed"
  else
    tail -n 40 "$tmp/informative" | sed 's/^/#   /'
    echo "# $name: FAILED, which does not count"
  fi
}

# try_package <name> <version>: runs the tests of @fastify/websocket and some of ours in a copy of the repository with that version
try_package () {
  local name=$1 copy=$tmp/with-${1//\//-}
  mkdir -p "$copy/fresh" && cp -r index.ts lib test example package.json tsconfig*.json dist "$copy" &&
    { cp -al node_modules "$copy" 2> /dev/null || { rm -rf "$copy/node_modules" && cp -a node_modules "$copy"; }; } &&
    npm install --prefix "$copy/fresh" --no-audit --no-fund --legacy-peer-deps "$name@$2" &&
    replace_package "$name" "$copy" &&
    cd "$copy" &&
    timeout 60 node test/drop-in/run.mjs &&
    timeout 90 node_modules/.bin/tap --disable-coverage test/integration/{upgrade/upgrade,observing/response-hooks,conversation/event-style}.test.ts
}

# Moves the new package and its dependencies into the copy, except ws, because there may be only one copy of ws
replace_package () {
  local name=$1 copy=$2
  local old=$copy/node_modules/$name fresh=$copy/fresh/node_modules
  rm -rf "$old" && mv "$fresh/$name" "$old" && rm -rf "$fresh/.bin" "$fresh/ws" "$fresh/.package-lock.json" &&
    mkdir -p "$old/node_modules" && cp -a "$fresh/." "$old/node_modules"
}
