@echo off
rem Copy a channel so that its readers see a complete one at any instant:
rem     sync.cmd SOURCE DEST [GRACE]
rem Packages go first, then metadata, the manifest last; then, after GRACE seconds (5), what is not
rem needed any more. Metadata is written beside its place and renamed. Cut off, run it again.
rem Needs robocopy, which every Windows has. Ends with 0, or 6 when DEST is not as SOURCE.
rem
rem robocopy ends with a sum of 1 files copied, 2 more files there, 4 mismatched; 8 some not copied,
rem 16 nothing done. 0 to 7 is success. /Z goes on where it was cut off, /FFT allows FAT's 2 s.
rem
rem Paths are only ever put together, never taken apart by substitution, nor handed to a second
rem cmd: = ^ and % may be in folder names. Names below SOURCE are plain, so they need no quotes. The
rem dot at the end is for E:\, whose backslash would take the quote after it along.
setlocal EnableExtensions DisableDelayedExpansion

if "%~2"=="" goto usage
if not exist "%~1\repack\manifest.json" goto usage
for %%P in ("%~1\.") do set "source=%%~fP"
for %%P in ("%~2\.") do set "dest=%%~fP"
if "%source:~-1%"=="\" set "source=%source:~0,-1%"
if "%dest:~-1%"=="\" set "dest=%dest:~0,-1%"
set "grace=%~3"
if not defined grace set "grace=5"
set "stage=%dest%\.repack-sync"
set "how=/XJ /FFT /Z /R:5 /W:2 /COPY:DT /DCOPY:T /NP /NJH /NJS /NDL /NFL"
set "files=._* .DS_Store Thumbs.db desktop.ini"
set "folders=.cache __pycache__ .repack-sync .repack-partial $RECYCLE.BIN "System Volume Information""

rem a junction or link leads elsewhere; dir says 0 when there is one
dir /s /b /al "%source%\." >nul 2>nul && goto linked
if exist "%dest%\*" dir /s /b /al "%dest%\." >nul 2>nul && goto linked
if exist "%dest%\repack\manifest.json" goto sound
if not exist "%dest%\*" goto sound
set "strange="
pushd "%dest%" || goto failed
for %%F in (*) do set "strange=1"
for /d %%D in (*) do call :known "%%D" || set "strange=1"
popd
if defined strange goto strange
:sound

rem /S and a list of names: packages only, straight to their places, for nothing names them yet
robocopy "%source%\." "%dest%\." *.conda *.tar.bz2 /S %how% /XF %files% /XD %folders%
if errorlevel 8 goto failed

if exist "%stage%" rd /s /q "%stage%"
robocopy "%source%\." "%stage%" /S %how% /XF *.conda *.tar.bz2 %files% /XD %folders%
if errorlevel 8 goto failed

rem what clients read first, and the manifest, wait until the rest is there
pushd "%stage%" || goto failed
for %%T in (2 3 4) do call :each switch %%T
popd
if exist "%stage%" rd /s /q "%stage%"

set "different="
pushd "%source%" || goto failed
call :each compare 1
popd
if defined different exit /b 6

rem ping waits everywhere; timeout wants a console
set /a pings=grace+1
ping -n %pings% 127.0.0.1 >nul
robocopy "%source%\." "%dest%\." /MIR %how% /XF %files% /XD %folders%
if errorlevel 8 goto failed
echo "%dest%" is as "%source%"
exit /b 0

rem :each WHAT TURN [FOLDER]: call WHAT for all files below here; FOLDER ends in a backslash
:each
for %%F in (%~3*) do call :%1 "%~3%%~nxF" %2
for /d %%D in (%~3*) do call :ours "%%~nxD" && call :each %1 %2 "%~3%%~nxD\"
exit /b

:ours
for %%N in (.cache __pycache__ .repack-sync) do if /i "%~1"=="%%N" exit /b 1
exit /b 0

:switch
set "path_in=%~1"
set "name=%~nx1"
set "turn=2"
if /i "%name:~0,13%"=="repodata.json" set "turn=3"
if /i "%path_in:~-20%"=="repack\manifest.json" set "turn=4"
if not "%turn%"=="%2" exit /b
for %%P in ("%dest%\%path_in%") do if not exist "%%~dpP" md "%%~dpP"
move /y "%stage%\%path_in%" "%dest%\%path_in%" >nul
exit /b

:compare
set "path_in=%~1"
set "name=%~nx1"
if "%name:~0,2%"=="._" exit /b
for %%L in (.DS_Store Thumbs.db desktop.ini) do if /i "%name%"=="%%L" exit /b
fc /b "%source%\%path_in%" "%dest%\%path_in%" >nul 2>nul
if not errorlevel 1 exit /b
set "different=1"
echo error: not as in the source, run again: "%path_in%" 1>&2
exit /b

:known
for %%N in (noarch repack win-64 linux-64 .repack-sync) do if /i "%~1"=="%%N" exit /b 0
exit /b 1

:linked
echo error: there is a link or junction in "%source%" or "%dest%" 1>&2
exit /b 2

:strange
echo error: "%dest%" holds other things; name a folder of its own 1>&2
exit /b 2

:failed
echo error: not everything could be copied; run again 1>&2
exit /b 6

:usage
echo usage: sync.cmd SOURCE DEST [GRACE]    SOURCE holds repack\manifest.json 1>&2
exit /b 2
